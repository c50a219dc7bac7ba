package guardwatermill

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// orders are the ones in which people add these middlewares. In the first two nothing may be lost or poisoned that is
// pending.
var orders = map[string]func(poison, guarded, retry message.HandlerMiddleware) []message.HandlerMiddleware{
	"poison, guard, retry": rightOrder,
	"poison, retry, guard": func(poison, guarded, retry message.HandlerMiddleware) []message.HandlerMiddleware {
		return []message.HandlerMiddleware{poison, retry, guarded}
	},
}

func inEachOrder(t *testing.T, f func(t *testing.T, order func(poison, guarded, retry message.HandlerMiddleware) []message.HandlerMiddleware)) {
	t.Parallel()
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, order)
		})
	}
}

// watermill delivers at once what is given back: in the time of one transaction thousands of times.
func TestAPendingMessageIsHeldAndNotDeliveredAgain(t *testing.T) {
	inEachOrder(t, func(t *testing.T, order func(poison, guarded, retry message.HandlerMiddleware) []message.HandlerMiddleware) {
		s := start(t, guard.Config{Budget: time.Millisecond, Slots: 1}, order)
		token := s.held("a")
		time.Sleep(200 * time.Millisecond) // in which it would come again
		s.ran("a", 1, 0, 0)
		s.barriers.Commit(token)
		s.until("it ran", func() bool { return len(s.outputs) == 1 })
		s.fence()
		s.ran("a", 1, 1, 1)
		s.isPoisoned(0, 0)
	})
}

func TestAnAbortedMessageIsAcknowledgedWithoutOutput(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{}, rightOrder)
	token := s.held("a")
	s.barriers.Abort(token)
	s.until("it was decided", func() bool { return s.decisions == 1 })
	s.fence()
	s.ran("a", 1, 0, 0)
	s.isPoisoned(0, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.deliveries[0].Acked():
	default:
		t.Error("it was not acknowledged")
	}
}

// The router is closed while a message is held: the message goes back, and neither Poison nor Retry sees an error.
func TestAPendingMessageIsGivenBackAtShutdownAndNotPoisoned(t *testing.T) {
	inEachOrder(t, func(t *testing.T, order func(poison, guarded, retry message.HandlerMiddleware) []message.HandlerMiddleware) {
		s := start(t, guard.Config{}, order)
		s.held("a")
		began := time.Now()
		s.stop()
		s.isPoisoned(0, 0)
		s.mu.Lock()
		defer s.mu.Unlock()
		if m := s.deliveries[0]; !wasGivenBack(m) || len(s.runs) > 0 {
			t.Errorf("it was not given back, or ran: %q", s.runs)
		}
		if most := 2 + int(time.Since(began)/giveBackPause); len(s.deliveries) > most {
			t.Errorf("while the router closed it was delivered %d times, want %d at most", len(s.deliveries), most)
		}
		if s.decisions != len(s.deliveries) {
			t.Errorf("it was decided about %d times, and delivered %d times", s.decisions, len(s.deliveries))
		}
	})
}

// A message that never runs is poisoned at once: no Retry may repeat the guard's verdict.
func TestWhatNeverRunsIsPoisonedOnceAndNotRetried(t *testing.T) {
	inEachOrder(t, func(t *testing.T, order func(poison, guarded, retry message.HandlerMiddleware) []message.HandlerMiddleware) {
		s := start(t, guard.Config{Require: true}, order)
		s.barriers.Origin = guardtest.NewToken().Origin
		expired, foreign, own := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
		foreign.Origin++
		s.barriers.Set(pgbarrier.Expired, expired)
		s.barriers.Commit(own)
		for i, m := range []struct {
			payload, barrier string
			reason           error
		}{
			{"expired", expired.String(), pgbarrier.ErrExpired},
			{"foreign", foreign.String(), pgbarrier.ErrWrongDatabase},
			{"malformed", "nothing like a token", pgbarrier.ErrInvalidToken},
			{"cut off", own.String() + ",", pgbarrier.ErrInvalidToken},
			{"missing", "", guard.ErrMissing},
		} {
			s.send(m.payload, m.barrier)
			s.until(m.payload+" is poisoned", func() bool { return len(s.poisoned) == i+1 })
			s.ran(m.payload, 1, 0, 0)
			s.mu.Lock()
			if s.decisions != i+1 {
				t.Errorf("%s was decided about %d times", m.payload, s.decisions-i)
			}
			if reason := s.poisoned[i].Metadata.Get(middleware.ReasonForPoisonedKey); reason == "" {
				t.Errorf("%s is poisoned for no reason", m.payload)
			}
			s.mu.Unlock()
		}
		s.isPoisoned(5, 0)
	})
}

// An empty value is not the same as no barrier, which would run.
func TestAnEmptyBarrierIsMalformed(t *testing.T) {
	t.Parallel()
	handler := func(m *message.Message) ([]*message.Message, error) {
		t.Error("it ran")
		return nil, nil
	}
	var barriers guardtest.Waiter
	g, err := guard.New(&barriers, guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m := message.NewMessage("", nil)
	m.Metadata.Set(guard.Header, "")
	_, err = Middleware(g, Config{})(handler)(m)
	if !IsRejection(err) || !errors.Is(err, pgbarrier.ErrInvalidToken) {
		t.Errorf("the error is %v", err)
	}
}

func TestAHandlersErrorIsRetriedThenPoisonedAndNoRejection(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{}, rightOrder)
	errOwn := errors.New("the handler fails")
	s.change(func() { s.handle = func(*message.Message) error { return errOwn } })
	token := s.held("a")
	s.barriers.Commit(token)
	s.until("it is poisoned", func() bool { return len(s.poisoned) == 1 })
	s.ran("a", 1, 1+retries, 0)
	if IsRejection(errOwn) || IsRejection(nil) {
		t.Error("the handler's error is taken for a rejection")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.decisions != 1 {
		t.Errorf("it was decided about %d times", s.decisions)
	}
}

// Middlewares of the whole router also stand before the poison topic's consumer. What is rejected there would be
// poisoned again, for ever.
func TestThePoisonTopicsConsumerGetsWhatWasRejectedThoughItIsGuarded(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{}, rightOrder)
	looked := make(chan string, 100)
	h := s.router.AddConsumerHandler("look", "poison", s.dead, func(m *message.Message) error {
		looked <- string(m.Payload)
		return nil
	})
	if err := s.router.RunHandlers(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-h.Started()
	s.send("bad", "nothing like a token")
	select {
	case payload := <-looked:
		if payload != "bad" {
			t.Errorf("it got %q", payload)
		}
	case <-time.After(patience):
		t.Fatal("it got nothing")
	}
	s.fence()
	if len(looked) > 0 {
		t.Error("it got it again")
	}
	s.isPoisoned(1, 1)
	s.ran("bad", 2, 0, 0) // in "orders", and in "poison"
}

// What was pending when it came back from the poison topic is held there as anywhere.
func TestAPoisonedMessageThatIsPublishedAgainIsGuarded(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{}, rightOrder)
	s.send("bad", "nothing like a token")
	s.until("it is poisoned", func() bool { return len(s.poisoned) == 1 })
	s.mu.Lock()
	again := s.poisoned[0].Copy()
	s.mu.Unlock()
	if err := s.pubsub.Publish("orders", again); err != nil {
		t.Fatal(err)
	}
	s.until("it is poisoned again", func() bool { return len(s.poisoned) == 2 })
	s.ran("bad", 2, 0, 0)
}

// Without a Poison outside the router gives a rejected message back, and it comes again at once.
func TestARejectionThatNobodyTakesIsNoHotLoop(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{}, func(_, guarded, retry message.HandlerMiddleware) []message.HandlerMiddleware {
		return []message.HandlerMiddleware{guarded, retry}
	})
	began := time.Now()
	s.send("bad", "nothing like a token")
	s.until("it came three times", func() bool { return len(s.deliveries) == 3 })
	if took := time.Since(began); took < rejectPause {
		t.Errorf("it came three times within %v", took)
	}
	s.isPoisoned(0, 1)
}

func TestTimeoutAndInstantAckOutsideOfTheGuardAreComplainedOf(t *testing.T) {
	t.Parallel()
	for name, outside := range map[string]message.HandlerMiddleware{
		"Timeout": middleware.Timeout(time.Hour), "InstantAck": middleware.InstantAck,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// No Retry, which takes the end of the context that InstantAck's Ack brings for a failure.
			s := start(t, guard.Config{}, func(poison, guarded, _ message.HandlerMiddleware) []message.HandlerMiddleware {
				return []message.HandlerMiddleware{poison, outside, guarded}
			})
			s.send("a", "")
			s.send("b", "")
			s.until("both ran", func() bool { return len(s.outputs) == 2 })
			s.isPoisoned(0, 1)
		})
	}
}

// seen is a Deduplicator's memory, without the goroutine of watermill's own that nothing ends.
type seen map[string]bool

func (s seen) IsDuplicate(_ context.Context, key string) (bool, error) {
	was := s[key]
	s[key] = true
	return was, nil
}

// Deduplicator drops what looks like a message that it has seen. Inside of the guard it sees what has committed.
func TestADeduplicatorInsideSeesOnlyWhatHasCommitted(t *testing.T) {
	t.Parallel()
	s := start(t, guard.Config{}, func(poison, guarded, retry message.HandlerMiddleware) []message.HandlerMiddleware {
		dedup := middleware.Deduplicator{Repository: seen{}}
		return []message.HandlerMiddleware{poison, guarded, dedup.Middleware, retry}
	})
	s.barriers.Abort(s.held("order 7")) // try 1 of a transaction
	s.until("it was dropped", func() bool { return s.decisions == 1 })
	s.barriers.Commit(s.held("order 7")) // try 2
	s.until("it ran", func() bool { return slices.Contains(s.outputs, "order 7") })
	s.ran("order 7", 2, 1, 1)
}

func TestNoMoreHandlersRunThanThereAreWorkersAndWhatIsHeldTakesNone(t *testing.T) {
	t.Parallel()
	var barriers guardtest.Waiter
	g, err := guard.New(&barriers, guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	const workers, messages = 2, 20
	var mu sync.Mutex
	running, most := 0, 0
	handler := Middleware(g, Config{Workers: workers})(func(*message.Message) ([]*message.Message, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		running--
		return nil, nil
	})
	token := guardtest.NewToken()
	var all sync.WaitGroup
	call := func() {
		m := message.NewMessage("", nil)
		m.Metadata.Set(guard.Header, token.String())
		all.Go(func() {
			if _, err := handler(m); err != nil {
				t.Error(err)
			}
		})
	}
	for range messages {
		call()
	}
	if err := barriers.UntilWaiting(t.Context(), messages); err != nil {
		t.Fatal(err)
	}
	if _, err := handler(message.NewMessage("", nil)); err != nil { // while all those are held
		t.Error(err)
	}
	barriers.Commit(token)
	all.Wait()
	if most > workers {
		t.Errorf("%d handlers ran at once, want %d at most", most, workers)
	}
}

// A message whose worker is not free before its context ends has not run, and goes back.
func TestAMessageThatWaitsForAWorkerIsGivenBackAtShutdown(t *testing.T) {
	t.Parallel()
	var barriers guardtest.Waiter
	g, err := guard.New(&barriers, guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	handler := Middleware(g, Config{Workers: 1})(func(*message.Message) ([]*message.Message, error) {
		close(entered) // panics if it is called twice
		<-release
		return nil, nil
	})
	var running sync.WaitGroup
	running.Go(func() { _, _ = handler(message.NewMessage("", nil)) })
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := message.NewMessageWithContext(ctx, "", nil)
	if _, err := handler(m); err != nil || !wasGivenBack(m) {
		t.Errorf("it was not given back: %v", err)
	}
	close(release)
	running.Wait()
}
