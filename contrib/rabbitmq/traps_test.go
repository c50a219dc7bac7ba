package guardrabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// A trial is a queue of the shared broker, with a database whose outcomes the test decides.
type trial struct {
	testing.TB
	node     *node
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

func newTrialOn(t testing.TB, n *node, kind string, limit int) *trial {
	t.Helper()
	s := &trial{
		TB: t, node: n, queue: fmt.Sprintf("trial-%d", trials.Add(1)),
		runs: make(chan amqp.Delivery, 1000), more: make(chan struct{}, 1),
	}
	declareQueue(t, n, s.queue, kind, limit)
	conn, err := amqp.Dial(n.url())
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
		dial := func() (*amqp.Connection, error) { return amqp.Dial(s.node.url()) }
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
	case <-time.After(time.Minute):
		s.Fatal("nothing runs")
		return amqp.Delivery{}
	}
}

// untilGivenBack waits for so many verdicts of Later since the trial began.
func (s *trial) untilGivenBack(times int64) {
	s.Helper()
	for timeout := time.After(time.Minute); s.laters.Load() < times; {
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
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
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

func TestAFreeMessageRunsThoughMorePendingOnesAreAheadThanThePrefetch(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		s := newTrial(t, kind, 20)
		pending, free := guardtest.NewToken(), guardtest.NewToken()
		s.barriers.Commit(free)
		for range 3 * s.config.Prefetch {
			s.send("pending", pending)
		}
		s.send("free", free)
		s.start()
		if d := s.ran(); string(d.Body) != "free" {
			t.Errorf("%s ran", d.Body)
		}
		s.barriers.Commit(pending)
		for range 3 * s.config.Prefetch {
			s.ran()
		}
	})
}

func TestToBeParkedBurnsNoDelivery(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		s := newTrial(t, kind, 2)
		s.config.Hold = time.Millisecond
		pending := guardtest.NewToken()
		s.start()
		s.send("pending", pending)
		s.untilGivenBack(5)
		s.barriers.Commit(pending)
		s.ran()
		if _, dead := s.rest(); dead > 0 {
			t.Error("it is among the dead letters")
		}
	})
}

func TestToBeStoppedBurnsNoDelivery(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		s := newTrial(t, kind, 2)
		pending := guardtest.NewToken()
		s.send("pending", pending)
		for range 4 {
			stop := s.start()
			if err := s.barriers.UntilWaiting(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			stop()
			s.untilRest(1, 0)
		}
		s.barriers.Commit(pending)
		s.start()
		s.ran()
	})
}

func TestAHandlerFailsAsOftenAsAttemptsSay(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		s := newTrial(t, kind, 20)
		s.handle = func(context.Context, amqp.Delivery) error { return errors.New("fails") }
		s.send("fails")
		stop := s.start()
		for range 3 {
			s.ran()
		}
		stop()
		s.untilRest(0, 1)
		if len(s.runs) > 0 {
			t.Errorf("it ran %d times more", len(s.runs))
		}
	})
}

func TestAFailureBeforeParkingIsStillCountedAfterIt(t *testing.T) {
	t.Parallel()
	s := newTrial(t, "quorum", 20)
	s.config.Hold = time.Millisecond
	token := guardtest.NewToken()
	s.barriers.Commit(token)
	s.handle = func(context.Context, amqp.Delivery) error {
		s.barriers.Set(pgbarrier.Pending, token)
		return errors.New("fails")
	}
	s.send("fails", token)
	stop := s.start()
	for run := range int64(3) {
		s.ran()
		if run < 2 {
			s.untilGivenBack(s.laters.Load() + 2)
			s.barriers.Commit(token)
		}
	}
	stop()
	s.untilRest(0, 1)
}

func TestTheHandlerGetsTheMessageThatWasSent(t *testing.T) {
	t.Parallel()
	s := newTrial(t, "classic", 20)
	s.config.Hold = time.Millisecond
	exchange := s.queue + "-exchange"
	onChannel(t, broker, func(c *amqp.Channel) error {
		if err := c.ExchangeDeclare(exchange, "direct", false, false, false, false, nil); err != nil {
			return err
		}
		return c.QueueBind(s.queue, "placed", exchange, false, nil)
	})
	t.Cleanup(func() {
		onChannel(t, broker, func(c *amqp.Channel) error { return c.ExchangeDelete(exchange, false, false) })
	})
	other := newTrial(t, "classic", 20) // gets a copy, once
	pending := guardtest.NewToken()
	sent := amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Priority: 3,
		CorrelationId: "c", ReplyTo: "r", MessageId: "m", Type: "t", AppId: "a", UserId: "guest", Expiration: "60000",
		Timestamp: time.Unix(1_700_000_000, 0), Body: []byte(`{}`),
		Headers: amqp.Table{"n": int32(1), "CC": []any{other.queue}, guard.Header: pending.String()},
	}
	onChannel(t, broker, func(c *amqp.Channel) error {
		if err := c.QueueBind(other.queue, other.queue, exchange, false, nil); err != nil {
			return err
		}
		if err := c.Confirm(false); err != nil {
			return err
		}
		confirm, err := c.PublishWithDeferredConfirm(exchange, "placed", true, false, sent)
		if err == nil && !confirm.Wait() {
			err = errRefused
		}
		return err
	})
	s.start()
	s.untilGivenBack(4)
	s.barriers.Commit(pending)
	d := s.ran()
	got := amqp.Publishing{
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode, Priority: d.Priority,
		CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, MessageId: d.MessageId, Type: d.Type, AppId: d.AppId,
		Timestamp: d.Timestamp.UTC(), Body: d.Body, Headers: d.Headers,
	}
	sent.UserId, sent.Expiration, sent.Timestamp = "", "", sent.Timestamp.UTC()
	if fmt.Sprint(got) != fmt.Sprint(sent) || d.Exchange != exchange || d.RoutingKey != "placed" {
		t.Errorf("it got %v by %q and %q,\nand not %v", got, d.Exchange, d.RoutingKey, sent)
	}
	other.untilRest(1, 0)
	if err := d.Ack(false); err == nil {
		t.Error("a handler could acknowledge")
	}
}

func TestWhatHasNoQueueIsNotTakenForPublished(t *testing.T) {
	t.Parallel()
	s := newTrial(t, "classic", 20)
	queue := retryQueue(s.queue, firstStep)
	m := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")}
	if err := s.producer.publish(t.Context(), queue, firstStep, m); err != nil {
		t.Fatal(err)
	}
	onChannel(t, broker, func(c *amqp.Channel) error {
		_, err := c.QueueDelete(queue, false, false, false)
		return err
	})
	if err := s.producer.publish(t.Context(), queue, firstStep, m); !errors.Is(err, errReturned) {
		t.Errorf("the queue is gone, and publishing returned %v", err)
	}
	if err := s.producer.publish(t.Context(), queue, firstStep, m); err != nil {
		t.Errorf("the queue was not declared again: %v", err)
	}
}

func TestAMessageIsParkedThoughItsQueueWasDeleted(t *testing.T) {
	t.Parallel()
	s := newTrial(t, "classic", 20)
	s.config.Hold = time.Millisecond
	pending := guardtest.NewToken()
	queue := parkingQueue(s.queue, firstStep, amqp.Table{guard.Header: pending.String()})
	s.start()
	for range 2 {
		s.barriers.Set(pgbarrier.Pending, pending)
		s.send("pending", pending)
		s.untilGivenBack(s.laters.Load() + 3)
		s.barriers.Commit(pending)
		s.ran()
		onChannel(t, broker, func(c *amqp.Channel) error { // it is empty now, and the consumer has declared it
			_, err := c.QueueDelete(queue, false, false, false)
			return err
		})
	}
}

func TestAQueueThatDoesNotExistIsAnError(t *testing.T) {
	t.Parallel()
	g, err := guard.New(guard.Eager, guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (*amqp.Connection, error) { return amqp.Dial(broker.url()) }
	handle := func(context.Context, amqp.Delivery) error { return nil }
	err = Consume(t.Context(), dial, g, Config{Queue: "nothing"}, handle)
	var refused *amqp.Error
	if !errors.As(err, &refused) || refused.Code != amqp.NotFound || !strings.HasPrefix(err.Error(), "pgbarrier: rabbitmq: ") {
		t.Errorf("%v", err)
	}
}

func TestACrashOfTheBrokerLosesNothingThatIsParked(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		own := ownNode(t)
		s := newTrialOn(t, own, kind, 20)
		s.config.Hold = time.Millisecond
		pending := guardtest.NewToken()
		s.start()
		bodies := map[string]bool{}
		for i := range 5 {
			body := fmt.Sprint(i)
			bodies[body] = true
			s.send(body, pending)
		}
		s.untilGivenBack(10)
		queues := []string{parkingQueue(s.queue, firstStep, amqp.Table{guard.Header: pending.String()})}
		if kind == "quorum" {
			queues = append(queues, s.queue)
		}
		own.untilKept(t, queues...)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		if err := own.crash(ctx); err != nil {
			t.Fatal(err)
		}
		s.untilGivenBack(s.laters.Load() + 5)
		s.barriers.Commit(pending)
		for len(bodies) > 0 {
			delete(bodies, string(s.ran().Body))
		}
	})
}
