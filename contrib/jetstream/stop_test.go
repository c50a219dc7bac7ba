package guardjetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// Processes come and go while messages are sent. AckWait is so long that what a stop does not give back, or what the
// server was just sending, would not come again.
func TestAStopLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Hour})
	token := guardtest.NewToken()
	sent := texts("held", 20)
	r.send(token, sent...)
	for i := range 4 {
		p := r.work("", Config{Workers: 2})
		for n := range 50 {
			text := fmt.Sprint("free ", i, " ", n)
			sent = append(sent, text)
			r.send(pgbarrier.Token{}, text)
			if n == 25 {
				p.stop() // the rest arrives while it stops
			}
		}
		if err := r.end(p); err != nil {
			t.Error("stopping: ", err)
		}
	}
	r.barriers.Commit(token)
	r.work("", Config{})
	r.untilRan(sent...)
	r.untilOutstanding(0)
	r.ran(0, sent...)
}

// The server counts what is given back as a delivery, so each stop takes one, and not more: it is given back when the
// process that stops asks for nothing any more, or it would come to that again.
func TestAStopTakesOneDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Hour, MaxDeliver: 3})
	token := guardtest.NewToken()
	held := texts("held", 5)
	r.send(token, held...)
	for stops := range 2 {
		p := r.work("", Config{})
		r.untilDelivered((stops + 1) * len(held))
		if err := r.end(p); err != nil {
			t.Error("stopping: ", err)
		}
	}
	r.work("", Config{})
	r.barriers.Commit(token)
	r.untilRan(held...)
	r.untilOutstanding(0)
	r.ran(3, held...)
}

// A handler that runs when its process stops may end, and is not told to. What waits for its worker is given back.
func TestAStopLetsHandlersEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Hour})
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free() // also when the test fails
	r.handle = func(ctx context.Context, text string) error {
		if text == "running" {
			<-release
		}
		return ctx.Err()
	}
	p := r.work("stopped", Config{Workers: 1})
	r.send(pgbarrier.Token{}, "running")
	r.untilRan("running")
	r.send(pgbarrier.Token{}, "waiting")
	r.untilOutstanding(2)
	p.stop()
	r.work("other", Config{})
	r.untilRan("waiting")
	free()
	if err := r.ends(p); err != nil {
		t.Error("stopping: ", err)
	}
	r.untilOutstanding(0)
	r.ran(0, "running", "waiting")
	if r.by["other"] != 1 {
		t.Errorf("the other process handled %d messages, want the one that waited", r.by["other"])
	}
}

// What would not be delivered again is waited for, pending or about to be handled.
func TestAStopWaitsForTheLastDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Hour, MaxDeliver: 1})
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free() // also when the test fails
	r.handle = func(_ context.Context, text string) error {
		if text == "running" {
			<-release
		}
		return nil
	}
	token := guardtest.NewToken()
	p := r.work("", Config{Workers: 1})
	r.send(token, "held")
	r.send(pgbarrier.Token{}, "running")
	r.untilRan("running")
	r.send(pgbarrier.Token{}, "waiting")
	r.untilOutstanding(3)
	p.stop()
	time.Sleep(2 * pullWait)
	select {
	case <-p.ended:
		t.Fatal("Consume has returned, and a message is lost")
	default:
	}
	free()
	r.barriers.Commit(token)
	if err := r.ends(p); err != nil {
		t.Error("stopping: ", err)
	}
	r.ran(1, "running", "waiting", "held")
}

// If that is too long, it says what is lost.
func TestAStopSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{MaxDeliver: 1})
	p := r.work("", Config{Grace: time.Millisecond})
	r.send(guardtest.NewToken(), "held")
	r.untilOutstanding(1)
	if err := r.end(p); !errors.Is(err, ErrLastDelivery) {
		t.Errorf("Consume returned %v, want ErrLastDelivery", err)
	}
}

// A handler that goes on for longer is told, and its message comes again.
func TestGraceEndsTheContextOfHandlers(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Hour})
	first := make(chan struct{}, 1)
	first <- struct{}{}
	r.handle = func(ctx context.Context, _ string) error {
		select {
		case <-first:
			<-ctx.Done()
			return ctx.Err()
		default:
			return nil
		}
	}
	p := r.work("", Config{Grace: time.Millisecond, Retry: func(int, error) time.Duration { return 0 }})
	r.send(pgbarrier.Token{}, "long")
	r.untilRan("long")
	if err := r.end(p); err != nil {
		t.Error("stopping: ", err)
	}
	r.work("", Config{})
	r.until("it ran again", func() bool { return len(r.runs["long"]) == 2 })
}

// What cannot be mended ends Consume, and nothing is left running.
func TestConsumeEndsWhenNothingCanComeAnyMore(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	closed := r.work("", Config{})
	deleted := r.work("", Config{})
	r.send(guardtest.NewToken(), texts("held", 5)...)
	r.untilOutstanding(5)
	closed.nc.Close()
	if err := r.ends(closed); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Consume returned %v, want ErrConnectionClosed", err)
	}
	if err := r.stream.DeleteConsumer(t.Context(), "workers"); err != nil {
		t.Fatal(err)
	}
	if err := r.ends(deleted); !errors.Is(err, jetstream.ErrConsumerDeleted) && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("Consume returned %v, want ErrConsumerDeleted", err)
	}
}

// A quiet consumer does not hear that it was deleted, as between two requests.
type quiet struct{ jetstream.Consumer }

func (q quiet) Fetch(n int, opts ...jetstream.FetchOpt) (jetstream.MessageBatch, error) {
	batch, err := q.Consumer.Fetch(n, opts...)
	if err == nil {
		for range batch.Messages() {
		}
		if err = batch.Error(); errors.Is(err, jetstream.ErrConsumerDeleted) {
			batch, err = q.Consumer.Fetch(n, opts...) // which nobody answers
		}
	}
	return batch, err
}

func TestConsumeEndsWhenItsConsumerIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	p := r.work("", Config{}, func(c jetstream.Consumer) jetstream.Consumer { return quiet{c} })
	if err := r.stream.DeleteConsumer(t.Context(), "workers"); err != nil {
		t.Fatal(err)
	}
	if err := r.ends(p); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("Consume returned %v, want ErrConsumerNotFound", err)
	}
}
