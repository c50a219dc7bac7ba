package guardrabbitmq

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
)

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
		untilKept(t, own, queues...)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		if err := own.Crash(ctx); err != nil {
			t.Fatal(err)
		}
		s.untilGivenBack(s.laters.Load() + 5)
		s.barriers.Commit(pending)
		for len(bodies) > 0 {
			delete(bodies, string(s.ran().Body))
		}
	})
}

// untilKept waits until quorum queues outlast a crash: RabbitMQ 3.10 writes the name of a new one half a second late.
func untilKept(t testing.TB, n *devbroker.Server, queues ...string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var names []byte
		files, err := filepath.Glob(filepath.Join(n.Dir, "mnesia", "*", "quorum", "*", "names.dets"))
		if err == nil && len(files) == 1 {
			names, err = os.ReadFile(files[0])
		}
		kept := err == nil
		for _, queue := range queues {
			kept = kept && bytes.Contains(names, []byte(queue))
		}
		if kept {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker does not write the names of %v: %v", queues, err)
		}
	}
}
