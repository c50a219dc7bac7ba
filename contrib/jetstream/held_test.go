package guardjetstream

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// What a process has is not delivered again while it is pending, waits for a worker, or is handled: AckWait passes
// several times, and BackOff, which overrides it. Another process would get it, and with MaxDeliver 3 it would be dead.
func TestWhatAProcessHasIsNotDeliveredAgain(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]jetstream.ConsumerConfig{
		"AckWait": {AckWait: time.Second, MaxDeliver: 3},
		"BackOff": {AckWait: time.Minute, MaxDeliver: 3, BackOff: []time.Duration{time.Second, 2 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const tries = 3 // a machine may be busy for AckWait
			for try := 1; ; try++ {
				r := newRig(t, config)
				release := make(chan struct{})
				free := sync.OnceFunc(func() { close(release) })
				defer free() // also when the test fails
				r.handle = func(_ context.Context, text string) error {
					if text == "handled" {
						<-release
					}
					return nil
				}
				token := guardtest.NewToken()
				r.work("first", Config{Workers: 1})
				r.send(token, "held")
				r.send(pgbarrier.Token{}, "handled")
				r.untilRan("handled")
				r.send(pgbarrier.Token{}, "waits for a worker")
				r.untilOutstanding(3)
				r.work("second", Config{})
				time.Sleep(4 * time.Second)
				again := r.info().NumRedelivered
				r.barriers.Commit(token)
				free()
				r.untilRan("held", "waits for a worker")
				r.untilOutstanding(0)
				if again == 0 {
					r.ran(1, "handled", "waits for a worker", "held")
					return
				}
				if try == tries {
					t.Fatalf("%d messages were delivered again, in each of %d tries", again, tries)
				}
			}
		})
	}
}

// The server is told in time for the shortest of BackOff, which overrides AckWait.
func TestTheShortestBackOffCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Minute, MaxDeliver: 3, BackOff: []time.Duration{8 * time.Second, 2 * time.Second}})
	if every := beat(r.info().Config); every != time.Second/2 {
		t.Errorf("the server is told every %v, want 500ms, a quarter of the shortest", every)
	}
}

// More messages are pending than there are workers, twice over, and the one behind them runs.
func TestPendingMessagesHoldUpNoOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	token := guardtest.NewToken()
	held := texts("held", 30)
	r.work("", Config{Workers: 1})
	r.send(token, held...)
	r.send(pgbarrier.Token{}, "free")
	r.untilRan("free")
	r.untilOutstanding(len(held))
	r.barriers.Commit(token)
	r.untilRan(held...)
	r.untilOutstanding(0)
	r.ran(1, append(held, "free")...)
}

// The messages of one transaction need not wait one after the other until each counts as held.
func TestManyMessagesOfOneTransactionAreHeldAtOnce(t *testing.T) {
	t.Parallel()
	const n, tries = 500, 3  // a machine may be busy
	oneByOne := n / 2 * soon // twice the workers at a time
	for try := 1; ; try++ {
		r := newRig(t, jetstream.ConsumerConfig{})
		token := guardtest.NewToken()
		held := texts("held", n)
		r.send(token, held...)
		began := time.Now()
		r.work("", Config{Workers: 1})
		r.untilOutstanding(n)
		took := time.Since(began)
		r.barriers.Commit(token)
		r.untilRan(held...)
		if took < oneByOne {
			return
		}
		if try == tries {
			t.Fatalf("%d messages were held after %v, in each of %d tries", n, took, tries)
		}
	}
}

// The server's MaxAckPending bounds what is held, and whoever operates it is told.
func TestMaxAckPendingBoundsWhatIsHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{MaxAckPending: 5, AckWait: 2 * time.Second})
	token := guardtest.NewToken()
	held := texts("held", 5)
	r.work("", Config{})
	r.send(token, held...)
	r.untilOutstanding(5)
	r.send(pgbarrier.Token{}, "free")
	r.until("ErrAckPendingFull was reported", func() bool {
		for _, err := range r.errs {
			if errors.Is(err, ErrAckPendingFull) {
				return true
			}
		}
		return false
	})
	r.barriers.Commit(token)
	r.untilRan(append(held, "free")...)
	r.untilOutstanding(0)
	r.ran(0, append(held, "free")...)
}

// Config.Held bounds it too: what is beyond stays with the server.
func TestHeldBoundsWhatIsHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	token := guardtest.NewToken()
	held := texts("held", 20)
	r.send(token, held...)
	r.work("", Config{Workers: 1, Held: 3})
	r.untilOutstanding(2 + 3) // twice the workers, and those beside
	time.Sleep(10 * soon)
	r.untilOutstanding(2 + 3)
	r.barriers.Commit(token)
	r.untilRan(held...)
	r.untilOutstanding(0)
	r.ran(0, held...)
}

// A process takes no more than its workers are about to handle: the rest is for others.
func TestABusyProcessLeavesMessagesToOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free() // also when the test fails
	r.handle = func(_ context.Context, text string) error {
		if text == "long" {
			<-release
		}
		return nil
	}
	r.work("busy", Config{Workers: 1})
	r.send(pgbarrier.Token{}, "long")
	r.untilRan("long")
	short := texts("short", 50)
	r.send(pgbarrier.Token{}, short...)
	r.work("idle", Config{Workers: 1})
	r.until("the other process handled the rest", func() bool { return r.by["idle"] == 49 })
	free()
	r.untilRan(short...)
	r.untilOutstanding(0)
	r.ran(1, append(short, "long")...)
}
