package guard_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

func later(t *testing.T, after time.Duration, tokens ...pgbarrier.Token) guard.Decision {
	t.Helper()
	return guard.Decision{Verdict: guard.Later, Err: guard.ErrPending, Tokens: tokens, After: after}
}

func TestWhatWasGivenBackIsHastenedWhenItsTransactionsEnd(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var hastened atomic.Int32
		hasten := func(context.Context) error { hastened.Add(1); return nil }
		hastenedSoon := func(n int32) {
			t.Helper()
			time.Sleep(100 * time.Millisecond) // the pause between two checks of a plain Waiter
			synctest.Wait()
			if got := hastened.Swap(0); got != n {
				t.Fatalf("%d were hastened, want %d", got, n)
			}
		}
		a, b, c := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
		g.Wake(ctx, later(t, time.Minute, a), hasten)
		g.Wake(ctx, later(t, time.Minute, a, b), hasten)
		g.Wake(ctx, later(t, time.Minute, b, c), hasten)
		g.Wake(ctx, later(t, time.Second, c), hasten)
		time.Sleep(10 * time.Second) // the last has come by itself
		if n := w.Waiting(); n != 3 && waiter == guard.Waiter(w) {
			t.Errorf("%d are waited for", n)
		}
		hastenedSoon(0)
		w.Commit(a)
		hastenedSoon(1)
		w.Commit(b)
		hastenedSoon(1)
		w.Abort(c) // so that it is dropped, and its deduplication id is free
		hastenedSoon(1)
		g.Wake(ctx, later(t, time.Minute, a), hasten)
		hastenedSoon(1)

		// Nothing but a message that was given back, and can come sooner, is hastened.
		for _, d := range []guard.Decision{{}, {Verdict: guard.Run, Tokens: []pgbarrier.Token{a}, After: time.Minute}, later(t, 0, a), later(t, time.Minute)} {
			g.Wake(ctx, d, hasten)
		}
		hastenedSoon(0)

		// Nor is anything for a worker that stops.
		d := guardtest.NewToken()
		g.Wake(ctx, later(t, time.Minute, d), hasten)
		cancel()
		g.Wake(ctx, later(t, time.Minute, d), hasten)
		synctest.Wait()
		if n := w.Waiting(); n > 0 {
			t.Errorf("%d waits were left", n)
		}
		w.Commit(d)
		hastenedSoon(0)
		if w.Waiting() > 0 {
			t.Errorf("%d waits were left", w.Waiting())
		}
		g.Wake(t.Context(), later(t, time.Minute, guardtest.NewToken()), hasten)
		w.Close()
		hastenedSoon(0)
	})
}

// The handler has returned the verdict, and the message may not have reached the queue yet.
func TestHasteningIsTriedAgainUntilTheMessageHasBeenGivenBack(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{})
		token := guardtest.NewToken()
		w.Commit(token)
		var calls []time.Duration
		began := time.Now()
		g.Wake(t.Context(), later(t, time.Minute, token), func(context.Context) error {
			if calls = append(calls, time.Since(began)); len(calls) < 4 {
				return errors.New("the message is active")
			}
			return nil
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(calls) != 4 || calls[3] > 200*time.Millisecond {
			t.Errorf("called after %v", calls)
		}
		calls = nil
		began = time.Now()
		g.Wake(t.Context(), later(t, 10*time.Second, token), func(context.Context) error {
			calls = append(calls, time.Since(began))
			return errors.New("no such message")
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(calls); n < 5 || n > 20 || calls[n-1] > 10*time.Second {
			t.Errorf("called after %v, the message came by itself after 10 s", calls)
		}
	})
}

func TestHasteningCostsNoGoroutineAndNoCheckForEachMessage(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var calls, most, running atomic.Int32
		token := guardtest.NewToken()
		before := runtime.NumGoroutine()
		for range 2000 {
			g.Wake(ctx, later(t, time.Minute, token), func(context.Context) error {
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Millisecond)
				running.Add(-1)
				calls.Add(1)
				return nil
			})
		}
		time.Sleep(20 * time.Second)
		if n := runtime.NumGoroutine() - before; n > 5 {
			t.Errorf("%d goroutines", n)
		}
		if w.Checks() > 201 {
			t.Errorf("%d checks in 20 s", w.Checks())
		}
		w.Commit(token)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if calls.Load() != 2000 || most.Load() > 8 {
			t.Errorf("%d were hastened, %d at once", calls.Load(), most.Load())
		}
		cancel()
	})
}

// Goroutines of all kinds at once, for the race detector; every message is hastened or came by itself.
func TestHasteningManyAtOnceLosesNone(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{})
		var all sync.WaitGroup
		var hastened atomic.Int32
		for i := range 200 {
			token := guardtest.NewToken()
			all.Go(func() {
				time.Sleep(time.Duration(i%7) * time.Millisecond)
				g.Wake(t.Context(), later(t, time.Hour, token), func(context.Context) error { hastened.Add(1); return nil })
			})
			all.Go(func() {
				time.Sleep(time.Duration(i%5) * time.Millisecond)
				w.Set(pgbarrier.Status(1+i%5), token)
			})
		}
		all.Wait()
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if hastened.Load() != 200 || w.Waiting() > 0 {
			t.Errorf("%d of 200 were hastened, %d wait", hastened.Load(), w.Waiting())
		}
	})
}
