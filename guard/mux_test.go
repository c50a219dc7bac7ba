package guard_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

func tokenOf(w *guardtest.Waiter) pgbarrier.Token {
	t := guardtest.NewToken()
	t.Origin = w.Origin
	return t
}

// withDatabases runs a test in fake time with a Mux of two databases, of either kind of Waiter.
func withDatabases(t *testing.T, test func(t *testing.T, a, b *guardtest.Waiter, mux guard.Waiter)) {
	t.Helper()
	for _, kind := range []string{"FuncWaiter", "Waiter", "mixed"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := &guardtest.Waiter{Origin: 0xa}, &guardtest.Waiter{Origin: 0xb}
				waiters := []guard.Waiter{a, b}
				if kind != "FuncWaiter" {
					waiters[0] = plain{a}
				}
				if kind == "Waiter" {
					waiters[1] = plain{b}
				}
				mux := guard.Mux(waiters...)
				if _, funcs := mux.(guard.FuncWaiter); funcs != (kind == "FuncWaiter") {
					t.Errorf("a Mux of %ss is a FuncWaiter: %v", kind, funcs)
				}
				test(t, a, b, mux)
				time.Sleep(100 * time.Millisecond)
				if n := a.Waiting() + b.Waiting(); n > 0 {
					t.Errorf("%d waits were left", n)
				}
			})
		})
	}
}

func TestATokenIsAskedOfItsOwnDatabase(t *testing.T) {
	withDatabases(t, func(t *testing.T, a, b *guardtest.Waiter, mux guard.Waiter) {
		g := newGuard(t, mux, guard.Config{})
		for range 2 { // the second time the databases are known
			for _, w := range []*guardtest.Waiter{a, b} {
				committed, aborted, soon := tokenOf(w), tokenOf(w), tokenOf(w)
				w.Commit(committed)
				w.Abort(aborted)
				want(t, g.Decide(t.Context(), message(t, committed)), guard.Run, nil)
				want(t, g.Decide(t.Context(), message(t, aborted)), guard.Drop, pgbarrier.ErrAborted)
				time.AfterFunc(time.Second, func() { w.Commit(soon) })
				began := time.Now()
				want(t, g.Decide(t.Context(), message(t, soon)), guard.Run, nil)
				if took := time.Since(began); took != time.Second {
					t.Errorf("took %v", took)
				}
				want(t, g.Decide(t.Context(), message(t, tokenOf(w))), guard.Later, guard.ErrPending)
			}
		}
		want(t, g.Decide(t.Context(), message(t, guardtest.NewToken())), guard.Reject, pgbarrier.ErrWrongDatabase)
		checks := b.Checks()
		for range 10 {
			want(t, g.Decide(t.Context(), message(t, tokenOf(a))), guard.Later, guard.ErrPending)
		}
		if b.Checks() != checks {
			t.Error("the other database was asked")
		}
		bogus := tokenOf(a)
		a.Set(pgbarrier.Invalid, bogus)
		want(t, g.Decide(t.Context(), message(t, bogus)), guard.Reject, pgbarrier.ErrInvalidToken)
	})
}

func TestAnOutageOfOneDatabaseTouchesNothingOfTheOthers(t *testing.T) {
	withDatabases(t, func(t *testing.T, a, b *guardtest.Waiter, mux guard.Waiter) {
		g := newGuard(t, mux, guard.Config{})
		b.Fail(errors.New("server down"))
		ofA, ofB := tokenOf(a), tokenOf(b)
		a.Commit(ofA)
		b.Commit(ofB)
		decisions := g.DecideEach(t.Context(), []guard.Carrier{message(t, ofB), message(t, ofA), message(t, ofA, ofB), message(t, guardtest.NewToken())})
		want(t, decisions[0], guard.Later, guard.ErrPending)
		want(t, decisions[1], guard.Run, nil)
		want(t, decisions[2], guard.Later, guard.ErrPending)
		want(t, decisions[3], guard.Later, guard.ErrPending) // it may be B's
		impatient := newGuard(t, mux, guard.Config{GiveUp: time.Nanosecond})
		want(t, impatient.Decide(t.Context(), message(t, ofB)), guard.Later, guard.ErrPending)
		time.AfterFunc(time.Second, func() { b.Fail(nil) })
		decisions = g.DecideEach(t.Context(), []guard.Carrier{message(t, ofB), message(t, ofA, ofB), message(t, guardtest.NewToken())})
		want(t, decisions[0], guard.Run, nil)
		want(t, decisions[1], guard.Run, nil)
		want(t, decisions[2], guard.Reject, pgbarrier.ErrWrongDatabase)
	})
}

func TestAMessageOfSeveralDatabasesWaitsForAll(t *testing.T) {
	withDatabases(t, func(t *testing.T, a, b *guardtest.Waiter, mux guard.Waiter) {
		g := newGuard(t, mux, guard.Config{})
		for range 2 {
			ofA, ofB := tokenOf(a), tokenOf(b)
			time.AfterFunc(time.Second, func() { a.Commit(ofA) })
			time.AfterFunc(1500*time.Millisecond, func() { b.Commit(ofB) })
			began := time.Now()
			want(t, g.Decide(t.Context(), message(t, ofA, ofB)), guard.Run, nil)
			if took := time.Since(began); took < 1500*time.Millisecond {
				t.Errorf("took %v", took)
			}
			aborted := tokenOf(b)
			time.AfterFunc(time.Second, func() { b.Abort(aborted) })
			want(t, g.Hold(t.Context(), message(t, ofA, aborted)), guard.Drop, pgbarrier.ErrAborted)
			want(t, g.Decide(t.Context(), message(t, ofA, guardtest.NewToken())), guard.Reject, pgbarrier.ErrWrongDatabase)
			want(t, g.Decide(t.Context(), message(t, ofA, tokenOf(b))), guard.Later, guard.ErrPending)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := mux.Wait(ctx, ofB, tokenOf(a)); err != context.DeadlineExceeded {
				t.Errorf("the wait ended with %v", err)
			}
			cancel()

			// A crash of one server takes its commit while the other is waited for.
			lost, late := tokenOf(a), tokenOf(b)
			a.Commit(lost)
			time.AfterFunc(500*time.Millisecond, func() { a.Set(pgbarrier.Aborted, lost) })
			time.AfterFunc(time.Second, func() { b.Commit(late) })
			want(t, g.Decide(t.Context(), message(t, lost, late)), guard.Drop, pgbarrier.ErrAborted)
		}
	})
}

func TestWhatWasGivenBackIsHastenedByItsDatabases(t *testing.T) {
	withDatabases(t, func(t *testing.T, a, b *guardtest.Waiter, mux guard.Waiter) {
		g := newGuard(t, mux, guard.Config{})
		for range 2 {
			var hastened atomic.Int32
			ofA, ofB := tokenOf(a), tokenOf(b)
			for _, tokens := range [][]pgbarrier.Token{{ofA}, {ofB}, {ofA, ofB}} {
				g.Wake(t.Context(), later(t, time.Minute, tokens...), func(context.Context) error { hastened.Add(1); return nil })
			}
			for i, end := range []func(){func() {}, func() { a.Commit(ofA) }, func() { b.Commit(ofB) }} {
				end()
				time.Sleep(5 * time.Second)
				if got := int(hastened.Load()); got != []int{0, 1, 3}[i] {
					t.Errorf("%d were hastened after %d ends", got, i)
				}
			}
		}
	})
}

func TestADatabaseThatTwoWaitersKnowIsNeverDecidedByEither(t *testing.T) {
	a, b := &guardtest.Waiter{Origin: 0xa}, &guardtest.Waiter{Origin: 0xa}
	token := tokenOf(a)
	a.Commit(token)
	b.Abort(token)
	statuses, err := guard.Mux(a, b).Check(t.Context(), token)
	if err == nil || !slices.Equal(statuses, []pgbarrier.Status{pgbarrier.Pending}) {
		t.Errorf("%v, %v", statuses, err)
	}
	if statuses, err := guard.Mux().Check(t.Context(), token); err == nil || !slices.Equal(statuses, []pgbarrier.Status{pgbarrier.Pending}) {
		t.Errorf("a Mux of nothing: %v, %v", statuses, err)
	}
}
