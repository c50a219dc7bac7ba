package guardrabbitmq

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
)

// A trial is a queue of the shared broker, with a database whose outcomes the test decides.
type trial struct {
	testing.TB
	node     *devbroker.Server
	barriers guardtest.Waiter
	queue    string
	producer *publishers
	guarded  guard.Config
	config   Config
	handle   Handler

	runs   chan amqp.Delivery
	laters atomic.Int64 // verdicts
	more   chan struct{}
}

var trials atomic.Int64

func newTrial(t testing.TB, kind string, limit int) *trial {
	t.Helper()
	return newTrialOn(t, broker, kind, limit)
}

func newTrialOn(t testing.TB, n *devbroker.Server, kind string, limit int) *trial {
	t.Helper()
	s := &trial{
		TB: t, node: n, queue: fmt.Sprintf("trial-%d", trials.Add(1)),
		runs: make(chan amqp.Delivery, 1000), more: make(chan struct{}, 1),
	}
	declareQueue(t, n, s.queue, kind, limit)
	conn, err := amqp.Dial(n.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s.producer = newPublishers(conn, s.queue)
	s.guarded = guard.Config{Budget: time.Millisecond, Delay: func(time.Duration) time.Duration { return firstStep }, Observe: s.observe}
	s.config = Config{Queue: s.queue, Workers: 2, Slots: 1, Prefetch: 5, Attempts: 3, Backoff: func(int) time.Duration { return firstStep }}
	s.handle = func(context.Context, amqp.Delivery) error { return nil }
	return s
}

func (s *trial) observe(_ context.Context, d guard.Decision) {
	if d.Verdict == guard.Later {
		s.laters.Add(1)
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
}

// start starts the consumer. stop stops it in order.
func (s *trial) start() (stop func()) {
	s.Helper()
	g, err := guard.New(&s.barriers, s.guarded)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		dial := func() (*amqp.Connection, error) { return amqp.Dial(s.node.URL) }
		done <- Consume(ctx, dial, g, s.config, func(ctx context.Context, d amqp.Delivery) error {
			err := s.handle(ctx, d)
			s.runs <- d
			return err
		})
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
	}
	s.Cleanup(stop)
	return stop
}

func (s *trial) send(body string, tokens ...pgbarrier.Token) {
	s.Helper()
	m := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body), Headers: amqp.Table{}}
	if err := guard.Add(Headers(m.Headers), tokens...); err != nil {
		s.Fatal(err)
	}
	if err := s.producer.publish(s.Context(), s.queue, 0, m); err != nil {
		s.Fatal(err)
	}
}

// ran waits for the next run.
func (s *trial) ran() amqp.Delivery {
	s.Helper()
	select {
	case d := <-s.runs:
		return d
	case <-time.After(2 * time.Minute):
		s.Fatal("nothing runs")
		return amqp.Delivery{}
	}
}

// untilGivenBack waits for so many verdicts of Later since the trial began.
func (s *trial) untilGivenBack(times int64) {
	s.Helper()
	for timeout := time.After(2 * time.Minute); s.laters.Load() < times; {
		select {
		case <-s.more:
		case <-timeout:
			s.Fatalf("it was given back %d times, not %d", s.laters.Load(), times)
		}
	}
}

// rest returns what is in the queue and among the dead letters.
func (s *trial) rest() (waiting, dead int) {
	s.Helper()
	onChannel(s, s.node, func(c *amqp.Channel) error {
		for name, n := range map[string]*int{s.queue: &waiting, s.queue + ".dead": &dead} {
			q, err := c.QueueDeclarePassive(name, true, false, false, false, nil)
			if err != nil {
				return err
			}
			*n = q.Messages
		}
		return nil
	})
	return waiting, dead
}

// untilRest waits for that to be so many: the broker moves dead letters in its own time.
func (s *trial) untilRest(waiting, dead int) {
	s.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		w, d := s.rest()
		if w == waiting && d == dead {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%d messages wait and %d are dead, not %d and %d", w, d, waiting, dead)
		}
	}
}

func kinds(t *testing.T, f func(t *testing.T, kind string)) {
	t.Parallel()
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t, kind)
		})
	}
}
