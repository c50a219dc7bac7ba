package guard_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// plain hides WaitFunc.
type plain struct{ guard.Waiter }

// withBothWaiters runs a test in fake time, with a waiter that has WaitFunc and with one that has not.
func withBothWaiters(t *testing.T, test func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter)) {
	t.Helper()
	t.Run("FuncWaiter", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := new(guardtest.Waiter)
			test(t, w, w)
		})
	})
	t.Run("Waiter", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := new(guardtest.Waiter)
			test(t, w, plain{w})
			time.Sleep(100 * time.Millisecond) // until nothing is checked for messages that were given back
		})
	})
}

func newGuard(t *testing.T, w guard.Waiter, config guard.Config) *guard.Guard {
	t.Helper()
	g, err := guard.New(w, config)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func message(t *testing.T, tokens ...pgbarrier.Token) guard.Carrier {
	t.Helper()
	m := guard.Map{}
	if err := guard.Add(m, tokens...); err != nil {
		t.Fatal(err)
	}
	return m
}

func want(t *testing.T, d guard.Decision, verdict guard.Verdict, err error) {
	t.Helper()
	if d.Verdict != verdict || !errors.Is(d.Err, err) {
		t.Fatalf("the verdict is %v, %v, want %v, %v", d.Verdict, d.Err, verdict, err)
	}
	if errors.Is(d.Err, context.Canceled) || errors.Is(d.Err, context.DeadlineExceeded) {
		t.Fatalf("%v is a context's error", d.Err)
	}
	if (d.Verdict == guard.Run) != (d.Err == nil) {
		t.Fatalf("%v with error %v", d.Verdict, d.Err)
	}
}

func TestEachStatusHasItsVerdict(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		for _, test := range []struct {
			status  pgbarrier.Status
			config  guard.Config
			verdict guard.Verdict
			err     error
		}{
			{pgbarrier.Committed, guard.Config{}, guard.Run, nil},
			{pgbarrier.Aborted, guard.Config{}, guard.Drop, pgbarrier.ErrAborted},
			{pgbarrier.Aborted, guard.Config{Aborted: guard.Reject}, guard.Reject, pgbarrier.ErrAborted},
			{pgbarrier.Expired, guard.Config{}, guard.Reject, pgbarrier.ErrExpired},
			{pgbarrier.Expired, guard.Config{Expired: guard.Drop}, guard.Drop, pgbarrier.ErrExpired},
			{pgbarrier.Expired, guard.Config{Expired: guard.Run}, guard.Run, nil},
			{pgbarrier.WrongDatabase, guard.Config{}, guard.Reject, pgbarrier.ErrWrongDatabase},
			{pgbarrier.Invalid, guard.Config{}, guard.Reject, pgbarrier.ErrInvalidToken},
			{pgbarrier.Pending, guard.Config{}, guard.Later, guard.ErrPending},
			{pgbarrier.Status(77), guard.Config{}, guard.Later, guard.ErrPending},
		} {
			token := guardtest.NewToken()
			g := newGuard(t, waiter, test.config)
			m := message(t, token)
			w.Set(test.status, token) // before the wait begins
			d := g.Decide(t.Context(), m)
			want(t, d, test.verdict, test.err)
			if !slices.Equal(d.Tokens, []pgbarrier.Token{token}) {
				t.Errorf("the decision is about %v", d.Tokens)
			}
			if test.verdict == guard.Later {
				continue
			}
			token = guardtest.NewToken()
			time.AfterFunc(time.Second, func() { w.Set(test.status, token) }) // during the wait
			began := time.Now()
			d = g.Decide(t.Context(), message(t, token))
			want(t, d, test.verdict, test.err)
			if took := time.Since(began); took != time.Second || d.Waited != took {
				t.Errorf("%v: decided after %v, says %v", test.status, took, d.Waited)
			}
		}
		if n := w.Waiting(); n != 0 {
			t.Errorf("%d waits were left", n)
		}
	})
}

func TestAMessageWithoutABarrierRunsUnlessOneIsRequired(t *testing.T) {
	w := new(guardtest.Waiter)
	for _, m := range []guard.Carrier{nil, guard.Map(nil), guard.Map{}} {
		want(t, newGuard(t, w, guard.Config{}).Decide(t.Context(), m), guard.Run, nil)
		want(t, newGuard(t, w, guard.Config{Require: true}).Decide(t.Context(), m), guard.Reject, guard.ErrMissing)
	}
	if w.Checks() > 0 {
		t.Error("the database was asked")
	}
}

func TestAMalformedBarrierIsRejectedUnasked(t *testing.T) {
	w := new(guardtest.Waiter)
	for _, value := range []string{"", "x", guardtest.NewToken().String() + ","} {
		want(t, newGuard(t, w, guard.Config{}).Decide(t.Context(), guard.Map{guard.Header: value}), guard.Reject, pgbarrier.ErrInvalidToken)
	}
	if w.Checks() > 0 {
		t.Error("the database was asked")
	}
}

// The budget is over: an error of its own, and when to come again.
func TestWhatIsPendingAfterTheBudgetComesLater(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		for _, test := range []struct{ age, after time.Duration }{
			{0, time.Second}, {10 * time.Second, 2500 * time.Millisecond}, {time.Hour, time.Minute}, {-time.Hour, time.Second},
		} {
			began := time.Now()
			d := newGuard(t, waiter, guard.Config{Budget: time.Millisecond}).Decide(t.Context(), message(t, guardtest.OldToken(test.age)))
			want(t, d, guard.Later, guard.ErrPending)
			if took := time.Since(began); took != time.Millisecond {
				t.Errorf("it took %v", took)
			}
			if errors.Is(d.Err, guard.ErrShutdown) || d.After-test.after > time.Millisecond || d.After < test.after {
				t.Errorf("%v at age %v, error %v, want it after %v", d.After, d.Age, d.Err, test.after)
			}
		}
		d := newGuard(t, waiter, guard.Config{Delay: func(age time.Duration) time.Duration { return 2 * age }}).Decide(t.Context(), message(t, guardtest.NewToken()))
		if want(t, d, guard.Later, guard.ErrPending); d.Waited != 2*time.Second || d.Age < 2*time.Second || d.Age > 2*time.Second+time.Millisecond || d.After != 2*d.Age {
			t.Errorf("waited %v, age %v, after %v", d.Waited, d.Age, d.After)
		}
	})
}

func TestAWorkerThatStopsIsToldFromABudgetThatIsOver(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, _ *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		d := g.Decide(ctx, message(t, guardtest.NewToken()))
		want(t, d, guard.Later, guard.ErrShutdown)
		if time.Since(began) != time.Second || d.After != 0 || errors.Is(d.Err, guard.ErrPending) {
			t.Errorf("%+v after %v", d, time.Since(began))
		}
		want(t, g.Decide(ctx, message(t, guardtest.NewToken())), guard.Later, guard.ErrShutdown)
		want(t, g.Hold(ctx, message(t, guardtest.NewToken())), guard.Later, guard.ErrShutdown)

		// The message's own deadline is not the end of the worker.
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d = g.Decide(ctx, message(t, guardtest.NewToken()))
		if want(t, d, guard.Later, guard.ErrPending); d.After == 0 {
			t.Errorf("%+v", d)
		}
	})
}

func TestSeveralBarriersMustAllCommit(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{})
		a, b := guardtest.OldToken(time.Hour), guardtest.NewToken()
		w.Commit(a)
		d := g.Decide(t.Context(), message(t, a, b))
		want(t, d, guard.Later, guard.ErrPending)
		if d.Age > time.Minute {
			t.Errorf("what is pending is %v old", d.Age)
		}
		time.AfterFunc(time.Second, func() { w.Commit(b) })
		want(t, g.Decide(t.Context(), message(t, a, b)), guard.Run, nil)
		c := guardtest.NewToken()
		time.AfterFunc(time.Second, func() { w.Abort(c) })
		want(t, g.Decide(t.Context(), message(t, a, c, b)), guard.Drop, pgbarrier.ErrAborted)
	})
}

// The handler looks at the data for what is expired. What is not may still be pending, or have aborted.
func TestAMessageThatMayBeExpiredStillWaitsForItsOtherBarriers(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{Expired: guard.Run})
		for _, late := range []bool{false, true} { // whether the wait is on when it expires
			expired, other, third := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
			expire := func() { w.Set(pgbarrier.Expired, expired) }
			if late {
				time.AfterFunc(500*time.Millisecond, expire)
			} else {
				expire()
			}
			want(t, g.Decide(t.Context(), message(t, expired, other)), guard.Later, guard.ErrPending)
			time.AfterFunc(time.Second, func() { w.Commit(other) })
			want(t, g.Decide(t.Context(), message(t, expired, other)), guard.Run, nil)
			want(t, g.Decide(t.Context(), message(t, expired)), guard.Run, nil)
			time.AfterFunc(time.Second, func() { w.Abort(third) })
			want(t, g.Decide(t.Context(), message(t, other, expired, third)), guard.Drop, pgbarrier.ErrAborted)
		}
		if n := w.Waiting(); n != 0 {
			t.Errorf("%d waits were left", n)
		}
	})
}

// expiredWaiter's checks find that tokens are expired; its waits learn it late, or do not say of which.
type expiredWaiter struct {
	*guardtest.Waiter
	expired pgbarrier.Token
	vague   bool
}

func (w expiredWaiter) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	if w.vague {
		return nil, errors.New("server down")
	}
	statuses, err := w.Waiter.Check(ctx, tokens...)
	for i, t := range tokens {
		if t == w.expired {
			statuses[i] = pgbarrier.Expired
		}
	}
	return statuses, err
}

func (w expiredWaiter) WaitFunc(f func(error), tokens ...pgbarrier.Token) (stop func()) {
	if w.vague {
		f(pgbarrier.ErrExpired)
		return func() {}
	}
	return w.Waiter.WaitFunc(f, tokens...)
}

func TestWhatOnlyACheckFindsExpiredIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := expiredWaiter{Waiter: new(guardtest.Waiter), expired: guardtest.NewToken()}
		g := newGuard(t, w, guard.Config{Expired: guard.Run})
		other := guardtest.NewToken()
		time.AfterFunc(time.Second, func() { w.Commit(other) })
		d := g.Decide(t.Context(), message(t, w.expired, other))
		if want(t, d, guard.Run, nil); d.Waited != time.Second {
			t.Errorf("waited %v", d.Waited)
		}
		w.vague = true
		g = newGuard(t, w, guard.Config{Expired: guard.Run})
		want(t, g.Decide(t.Context(), message(t, w.expired)), guard.Run, nil)
		want(t, g.Decide(t.Context(), message(t, w.expired, guardtest.NewToken())), guard.Later, guard.ErrPending)
	})
}

func TestOnlyAnAnswerRejectsOrDrops(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{GiveUp: time.Minute})
		committed, aborted := guardtest.OldToken(time.Hour), guardtest.OldToken(time.Hour)
		w.Commit(committed)
		w.Abort(aborted)
		for _, outage := range []error{errors.New("server down"), context.DeadlineExceeded, context.Canceled, pgbarrier.ErrStandby} {
			w.Fail(outage)
			for _, token := range []pgbarrier.Token{committed, aborted, guardtest.OldToken(time.Hour)} {
				d := g.Decide(t.Context(), message(t, token))
				if want(t, d, guard.Later, guard.ErrPending); d.After < time.Second {
					t.Errorf("it comes again after %v", d.After)
				}
			}
		}
		if d := g.Decide(t.Context(), message(t, aborted)); !errors.Is(d.Err, pgbarrier.ErrStandby) {
			t.Errorf("the error is %v, it does not say what is wrong", d.Err)
		}
		// It ends during the wait.
		time.AfterFunc(time.Second, func() { w.Fail(nil) })
		want(t, g.Decide(t.Context(), message(t, committed)), guard.Run, nil)
		want(t, g.Decide(t.Context(), message(t, aborted)), guard.Drop, pgbarrier.ErrAborted)

		w.Close()
		d := g.Decide(t.Context(), message(t, committed))
		want(t, d, guard.Later, guard.ErrPending)
		if !errors.Is(d.Err, pgbarrier.ErrClosed) || d.After < time.Second {
			t.Errorf("%+v: the queue would deliver it again and again", d)
		}
	})
}

func TestGivingUpRejectsWhatACheckFindsPendingThatLong(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{GiveUp: time.Minute, Slots: 1})
		d := g.Decide(t.Context(), message(t, guardtest.OldToken(time.Hour)))
		want(t, d, guard.Reject, guard.ErrPending)
		if d.Waited != 0 || d.Age < time.Hour {
			t.Errorf("%+v", d)
		}
		want(t, g.Decide(t.Context(), message(t, guardtest.OldToken(time.Minute-time.Second))), guard.Reject, guard.ErrPending)
		want(t, g.Decide(t.Context(), message(t, guardtest.OldToken(time.Minute-5*time.Second))), guard.Later, guard.ErrPending)
		old := guardtest.OldToken(time.Hour)
		w.Commit(old)
		want(t, g.Decide(t.Context(), message(t, old)), guard.Run, nil)
		want(t, g.Decide(t.Context(), message(t, old, guardtest.NewToken())), guard.Later, guard.ErrPending)

		began := time.Now()
		want(t, g.Hold(t.Context(), message(t, old, guardtest.NewToken())), guard.Reject, guard.ErrPending)
		if held := time.Since(began); held < time.Minute || held > time.Minute+2*time.Second {
			t.Errorf("held for %v", held)
		}
		// In an outage nobody knows that it is pending.
		w.Fail(errors.New("server down"))
		time.AfterFunc(10*time.Minute, func() { w.Fail(nil) })
		began = time.Now()
		want(t, g.Hold(t.Context(), message(t, guardtest.NewToken())), guard.Reject, guard.ErrPending)
		if held := time.Since(began); held < 10*time.Minute || held > 10*time.Minute+2*time.Second {
			t.Errorf("held for %v", held)
		}
	})
}

func TestHoldingOutlastsTheBudgetTheSlotsAndTheWaiter(t *testing.T) {
	withBothWaiters(t, func(t *testing.T, w *guardtest.Waiter, waiter guard.Waiter) {
		g := newGuard(t, waiter, guard.Config{Budget: time.Second, Slots: 1})
		held := make(chan guard.Decision, 10)
		tokens := make([]pgbarrier.Token, 10)
		for i := range tokens {
			tokens[i] = guardtest.NewToken()
			go func() { held <- g.Hold(t.Context(), message(t, tokens[i])) }()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(held) > 0 || w.Waiting() != 10 || w.Checks() > 0 {
			t.Fatalf("%d ended, %d wait, %d checks", len(held), w.Waiting(), w.Checks())
		}
		w.Commit(tokens[:9]...)
		w.Abort(tokens[9])
		verdicts := map[guard.Verdict]int{}
		for range tokens {
			verdicts[(<-held).Verdict]++
		}
		if verdicts[guard.Run] != 9 || verdicts[guard.Drop] != 1 {
			t.Errorf("the verdicts are %v", verdicts)
		}
		// On the last attempt that a queue grants, a verdict of Later loses the message.
		w.Close()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		d := g.Hold(ctx, message(t, tokens[0]))
		if want(t, d, guard.Later, guard.ErrShutdown); d.Waited != time.Hour {
			t.Errorf("held for %v", d.Waited)
		}
	})
}

func TestEveryDecisionIsObserved(t *testing.T) {
	type key struct{}
	w := new(guardtest.Waiter)
	var seen []guard.Decision
	g := newGuard(t, w, guard.Config{Observe: func(ctx context.Context, d guard.Decision) {
		if ctx.Value(key{}) != "the message's" {
			t.Error("observed with another context")
		}
		seen = append(seen, d)
	}})
	ctx := context.WithValue(t.Context(), key{}, "the message's")
	token := guardtest.NewToken()
	w.Commit(token)
	decisions := g.DecideEach(ctx, []guard.Carrier{message(t, token), guard.Map{}, guard.Map{guard.Header: "x"}})
	decisions = append(decisions, g.Hold(ctx, message(t, token)))
	if len(seen) != 4 {
		t.Fatalf("observed %d decisions", len(seen))
	}
	for i, d := range decisions {
		if d.Verdict != seen[i].Verdict || d.Err != seen[i].Err {
			t.Errorf("decided %+v, observed %+v", d, seen[i])
		}
	}
}

func TestEagerTakesEverythingForCommitted(t *testing.T) {
	for _, waiter := range []guard.Waiter{guard.Eager, plain{guard.Eager}} {
		g := newGuard(t, waiter, guard.Config{})
		want(t, g.Decide(t.Context(), message(t, guardtest.NewToken(), guardtest.NewToken())), guard.Run, nil)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for _, config := range []guard.Config{{Budget: -1}, {GiveUp: -1}, {Aborted: guard.Run}, {Aborted: guard.Later}, {Expired: guard.Later}, {Expired: 9}} {
		if _, err := guard.New(new(guardtest.Waiter), config); err == nil {
			t.Errorf("%+v was accepted", config)
		}
	}
	if _, err := guard.New(nil, guard.Config{}); err == nil {
		t.Error("nil was accepted")
	}
}
