package guard_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// What a long transaction sent must not take all workers.
func TestOneMoreThanTheSlotsIsCheckedOnceAndComesLater(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{Slots: 3})
		long := guardtest.OldToken(time.Second)
		var waiting sync.WaitGroup
		for range 3 {
			waiting.Go(func() {
				d := g.Decide(t.Context(), message(t, long))
				if d.Verdict != guard.Later || d.Waited != 2*time.Second {
					t.Errorf("%+v", d)
				}
			})
		}
		synctest.Wait()
		checks := w.Checks()
		began := time.Now()
		want(t, g.Decide(t.Context(), message(t, long)), guard.Later, guard.ErrPending)
		for _, d := range g.DecideEach(t.Context(), []guard.Carrier{message(t, long), message(t, long)}) {
			want(t, d, guard.Later, guard.ErrPending)
		}
		if checks = w.Checks() - checks; checks != 2 {
			t.Errorf("%d checks", checks)
		}
		ended, aborted := guardtest.OldToken(time.Second), guardtest.OldToken(time.Second)
		w.Commit(ended)
		w.Abort(aborted)
		want(t, g.Decide(t.Context(), message(t, ended)), guard.Run, nil)
		want(t, g.Decide(t.Context(), message(t, aborted)), guard.Drop, pgbarrier.ErrAborted)
		if took := time.Since(began); took > 0 {
			t.Errorf("it took workers for %v", took)
		}
		waiting.Wait()

		// The slots were given back.
		began = time.Now()
		want(t, g.Decide(t.Context(), message(t, long)), guard.Later, guard.ErrPending)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("waited %v", took)
		}
	})
}

func TestAYoungBarrierNeedsNoSlotForATenthOfASecond(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{Slots: 1})
		go g.Decide(t.Context(), message(t, guardtest.OldToken(time.Second)))
		synctest.Wait()

		short := guardtest.NewToken()
		time.AfterFunc(50*time.Millisecond, func() { w.Commit(short) })
		want(t, g.Decide(t.Context(), message(t, short)), guard.Run, nil)

		// All messages of a transaction together take workers for as long, whenever they come.
		long := guardtest.NewToken()
		began := time.Now()
		for range 20 {
			want(t, g.Decide(t.Context(), message(t, long)), guard.Later, guard.ErrPending)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("took a worker for %v", took)
		}
		// Also when the worker's clock is behind the server's, each is short.
		began = time.Now()
		want(t, g.Decide(t.Context(), message(t, guardtest.OldToken(-time.Hour))), guard.Later, guard.ErrPending)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("took a worker for %v", took)
		}
		time.Sleep(2 * time.Second)
	})
}

func TestWithoutABoundAnyNumberWaits(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{Slots: -1})
		token := guardtest.OldToken(time.Hour)
		var waiting sync.WaitGroup
		for range 100 {
			waiting.Go(func() {
				if d := g.Decide(t.Context(), message(t, token)); d.Verdict != guard.Run || d.Waited != time.Second {
					t.Errorf("%+v", d)
				}
			})
		}
		time.Sleep(time.Second)
		w.Commit(token)
		waiting.Wait()
	})
}

func TestABatchHasOneBudgetOneCheckAndADecisionForEach(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{Slots: 1})
		committed, aborted, expired, soon, never := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
		w.Commit(committed)
		w.Abort(aborted)
		w.Set(pgbarrier.Expired, expired)
		time.AfterFunc(time.Second, func() { w.Commit(soon) })
		batch := []struct {
			message guard.Carrier
			verdict guard.Verdict
			err     error
		}{
			{message(t, never), guard.Later, guard.ErrPending},
			{message(t, committed), guard.Run, nil},
			{message(t, soon), guard.Run, nil},
			{message(t, aborted), guard.Drop, pgbarrier.ErrAborted},
			{guard.Map{}, guard.Run, nil},
			{message(t, soon, committed), guard.Run, nil},
			{message(t, soon, aborted), guard.Drop, pgbarrier.ErrAborted},
			{message(t, soon, never), guard.Later, guard.ErrPending},
			{guard.Map{guard.Header: "x"}, guard.Reject, pgbarrier.ErrInvalidToken},
			{message(t, expired), guard.Reject, pgbarrier.ErrExpired},
		}
		var messages []guard.Carrier
		for _, b := range batch {
			messages = append(messages, b.message)
		}
		began := time.Now()
		decisions := g.DecideEach(t.Context(), messages)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
		if w.Checks() != 1 {
			t.Errorf("%d checks", w.Checks())
		}
		for i, d := range decisions {
			if want(t, d, batch[i].verdict, batch[i].err); d.Verdict == guard.Later && d.After != time.Second {
				t.Errorf("%+v", d)
			}
		}
		if w.Waiting() > 0 {
			t.Error("waits were left")
		}
		if decisions := g.DecideEach(t.Context(), nil); len(decisions) > 0 {
			t.Error("decided about nothing")
		}
	})
}

// The message's tokens must have been committed at once, which one statement tells.
func TestABatchOfAnySizeIsCheckedWithoutTearingAMessageApart(t *testing.T) {
	w := &tornWaiter{limit: 10_000}
	g := newGuard(t, w, guard.Config{})
	var messages []guard.Carrier
	for range 11 {
		tokens := make([]pgbarrier.Token, 999)
		for i := range tokens {
			tokens[i] = guardtest.NewToken()
		}
		messages = append(messages, message(t, tokens...))
	}
	for _, d := range g.DecideEach(t.Context(), messages) {
		want(t, d, guard.Run, nil)
	}
	if w.checks != 2 {
		t.Errorf("%d checks", w.checks)
	}
}

// tornWaiter commits everything, and refuses to check more than the limit.
type tornWaiter struct{ limit, checks int }

func (w *tornWaiter) Wait(ctx context.Context, _ ...pgbarrier.Token) error {
	<-ctx.Done()
	return ctx.Err()
}

func (w *tornWaiter) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	if w.checks++; len(tokens) > w.limit {
		return nil, context.DeadlineExceeded
	}
	return guard.Eager.Check(ctx, tokens...)
}

func TestAnOutcomeThatIsKnownCostsNoCheckAndOneThatIsNotOne(t *testing.T) {
	w := new(guardtest.Waiter)
	g := newGuard(t, w, guard.Config{})
	heard := guardtest.NewToken()
	w.Commit(heard) // the double tells at once, as a listener does what it has heard
	want(t, g.Decide(t.Context(), message(t, heard)), guard.Run, nil)
	if w.Checks() != 0 {
		t.Errorf("%d checks for what was heard", w.Checks())
	}
	ended := &tornWaiter{limit: 1}
	want(t, newGuard(t, ended, guard.Config{}).Decide(t.Context(), message(t, guardtest.OldToken(time.Hour))), guard.Run, nil)
	if ended.checks != 1 {
		t.Errorf("%d checks for what has ended", ended.checks)
	}
}

func BenchmarkDecideHeard(b *testing.B) {
	w := new(guardtest.Waiter)
	g, err := guard.New(w, guard.Config{})
	if err != nil {
		b.Fatal(err)
	}
	token := guardtest.NewToken()
	w.Commit(token)
	m := guard.Map{}
	if err := guard.Add(m, token); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if g.Decide(b.Context(), m).Verdict != guard.Run {
			b.Fatal("it does not run")
		}
	}
}

// What a message costs that is held, its goroutine included.
func BenchmarkHold(b *testing.B) {
	const messages = 10_000
	for b.Loop() {
		w := new(guardtest.Waiter)
		g, err := guard.New(w, guard.Config{})
		if err != nil {
			b.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		token := guardtest.NewToken()
		var held sync.WaitGroup
		for range messages {
			held.Go(func() { g.Hold(b.Context(), guard.Map{guard.Header: token.String()}) })
		}
		if err := w.UntilWaiting(b.Context(), messages); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/messages, "B/message")
		w.Commit(token)
		held.Wait()
	}
}
