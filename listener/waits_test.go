package listener

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// assertEmpty: an ended or canceled wait leaves nothing behind.
func assertEmpty(t *testing.T, s *waitSet) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) != 0 || s.fresh.size != 0 || s.fresh.first != nil || len(s.transactions) != 0 || s.stats.Waiting != 0 {
		t.Errorf("left behind: %d pending, %d fresh, %d transactions, %d waits", len(s.pending), s.fresh.size, len(s.transactions), s.stats.Waiting)
	}
}

func TestAWaitEndsWithTheOutcomeOfItsToken(t *testing.T) {
	for _, status := range []pgbarrier.Status{pgbarrier.Committed, pgbarrier.Aborted, pgbarrier.Expired, pgbarrier.WrongDatabase, pgbarrier.Invalid} {
		s := newWaitSet(nil)
		a, b := token(t, 7), token(t, 7)
		subA, subB := subscribe(s, []pgbarrier.Token{a}), subscribe(s, []pgbarrier.Token{b})
		if err := subA.Err(); err != ErrPending {
			t.Errorf("Err before Done is %v, want ErrPending", err)
		}
		s.apply([]pgbarrier.Token{a, b}, found(status, pgbarrier.Pending))
		if !ended(subA) || !errors.Is(subA.Err(), status.Err(a)) && subA.Err().Error() != status.Err(a).Error() {
			t.Errorf("%v: ended %v, %v", status, ended(subA), subA.Err())
		}
		if ended(subB) {
			t.Errorf("%v: the wait for another token ended", status)
		}
		subB.Close()
		assertEmpty(t, s)
	}
}

func TestOneOutcomeEndsEveryWaitForTheToken(t *testing.T) {
	s := newWaitSet(nil)
	a := token(t, 7)
	var subs []*Subscription
	for range 100 {
		subs = append(subs, subscribe(s, []pgbarrier.Token{a}))
		subs = append(subs, subscribe(s, []pgbarrier.Token{a, a})) // twice in one wait
	}
	s.apply([]pgbarrier.Token{a}, found(pgbarrier.Committed))
	for i, sub := range subs {
		if !ended(sub) || sub.Err() != nil {
			t.Fatalf("wait %d: ended %v, %v", i, ended(sub), sub.Err())
		}
	}
	assertEmpty(t, s)
}

func TestAWaitForManyTokensEndsWithTheLastCommitOrTheFirstAbort(t *testing.T) {
	a, b, c := token(t, 1), token(t, 2), token(t, 3)

	s := newWaitSet(nil)
	sub := subscribe(s, []pgbarrier.Token{a, b, c})
	hear(s, b)
	s.apply([]pgbarrier.Token{a}, found(pgbarrier.Committed))
	if ended(sub) {
		t.Error("ended while a token is pending")
	}
	hear(s, c)
	if ended(sub) {
		t.Error("an announcement may be from before a crash: one statement has to find all")
	}
	if got := s.toCheck(1, 0); len(got.tokens) != 3 || got.together != 3 {
		t.Errorf("the next check asks for %d of the three, %d of them together", len(got.tokens), got.together)
	}
	s.apply([]pgbarrier.Token{a, b, c}, found(pgbarrier.Committed, pgbarrier.Committed, pgbarrier.Committed))
	if !ended(sub) || sub.Err() != nil {
		t.Errorf("all are committed: ended %v, %v", ended(sub), sub.Err())
	}
	assertEmpty(t, s)

	s = newWaitSet(nil)
	sub = subscribe(s, []pgbarrier.Token{a, b, c})
	s.apply([]pgbarrier.Token{b}, found(pgbarrier.Aborted))
	var tokenErr *pgbarrier.TokenError
	if !ended(sub) || !errors.As(sub.Err(), &tokenErr) || tokenErr.Token != b {
		t.Errorf("one has aborted: ended %v, %v", ended(sub), sub.Err())
	}
	assertEmpty(t, s)
}

func TestAnAnnouncementEndsOnlyTheWaitForExactlyItsToken(t *testing.T) {
	s := newWaitSet(nil)
	a := token(t, 7)
	otherXID, otherOrigin := a, a
	otherXID.XID++
	otherOrigin.Origin++
	subs := []*Subscription{subscribe(s, []pgbarrier.Token{otherXID}), subscribe(s, []pgbarrier.Token{otherOrigin})}
	hear(s, a)
	for _, sub := range subs {
		if ended(sub) {
			t.Error("the same id with another xid or origin ended a wait")
		}
		sub.Close()
	}
	if err := s.hear("pgb1.not-a-token"); !errors.Is(err, pgbarrier.ErrInvalidToken) || s.stats.Malformed != 1 {
		t.Errorf("malformed: %v, counted %d", err, s.stats.Malformed)
	}
}

func TestWhatWasAnnouncedBeforeTheWaitEndsItAtOnce(t *testing.T) {
	s := newWaitSet(nil)
	a, b := token(t, 7), token(t, 8)
	hear(s, b)
	listening(s, true)
	hear(s, a)
	if sub := subscribe(s, []pgbarrier.Token{a}); !ended(sub) || sub.Err() != nil {
		t.Errorf("ended %v, %v", ended(sub), sub.Err())
	}
	assertEmpty(t, s)
	sub := subscribe(s, []pgbarrier.Token{b})
	if ended(sub) {
		t.Error("remembered what was heard while nothing would have told of a crash")
	}
	sub.Close()

	for name, lost := range map[string]func(){"check": s.recheck, "session": func() { listening(s, false) }} {
		listening(s, true)
		hear(s, a)
		lost()
		sub := subscribe(s, []pgbarrier.Token{a})
		if ended(sub) {
			t.Errorf("believed what was heard before the %s connection was lost", name)
		}
		sub.Close()
	}
}

func TestAnAnnouncementIsRememberedForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitSet(nil)
		listening(s, true)
		a := token(t, 7)
		hear(s, a)
		time.Sleep(announcedFor)
		if sub := subscribe(s, []pgbarrier.Token{a}); !ended(sub) {
			t.Error("forgotten too soon")
		}
		time.Sleep(time.Nanosecond)
		sub := subscribe(s, []pgbarrier.Token{a})
		defer sub.Close()
		if ended(sub) {
			t.Error("a failover meanwhile could have lost the commit")
		}
	})
}

func TestMemoryOfAnnouncementsIsBounded(t *testing.T) {
	s := newWaitSet(nil)
	listening(s, true)
	first := token(t, 7)
	hear(s, first)
	for range announcedMost {
		hear(s, token(t, 7))
	}
	if len(s.announced) > announcedMost || s.announced.has(first, time.Now()) {
		t.Errorf("%d are remembered", len(s.announced))
	}
}

func TestACheckAsksForWhatIsNewAndForWhatHasEnded(t *testing.T) {
	s := newWaitSet(nil)
	running, gone := token(t, 5), token(t, 150)
	subscribe(s, []pgbarrier.Token{running})
	subscribe(s, []pgbarrier.Token{gone})
	if got := s.toCheck(1, 0).tokens; len(got) != 2 {
		t.Errorf("first check asks for %d, want both", len(got))
	}
	if got := s.ended(1, snapshot("5:200:5")); len(got) != 0 {
		t.Errorf("asks twice for %v in one check", got)
	}
	fresh := token(t, 5)
	subscribe(s, []pgbarrier.Token{fresh})
	if got := s.toCheck(2, 0).tokens; len(got) != 1 || got[0] != fresh {
		t.Errorf("second check asks for %v, want the fresh one", got)
	}
	if got := s.ended(2, snapshot("5:200:5")); len(got) != 1 || got[0] != gone {
		t.Errorf("second check goes on with %v, want the ended one", got)
	}
	s.recheck()
	if got := s.toCheck(3, 0); len(got.tokens) != 3 {
		t.Errorf("after a reconnect asks for %d, want all", len(got.tokens))
	}
	if got := s.toCheck(4, 3); len(got.tokens) != 3 {
		t.Errorf("with few pending asks for %d, want all", len(got.tokens))
	}
}

// A snapshot lists nobody from its xmax on: they run, or a crash took them, before which nothing is said. To ask
// for all of a million barriers of such a transaction with every check would cost seconds.
func TestOneTokenIsAskedForOfATransactionBeyondTheSnapshot(t *testing.T) {
	s := newWaitSet(nil)
	for range 10 {
		subscribe(s, []pgbarrier.Token{token(t, 300)})
	}
	s.toCheck(1, 0)
	s.toCheck(2, 0)
	got := s.ended(2, snapshot("5:200:5"))
	if len(got) != 1 {
		t.Fatalf("asks for %d", len(got))
	}
	s.apply(got, wire.Answer{Snapshot: snapshot("5:200:5"), Outcomes: []wire.Outcome{wire.Aborted}})
	if got := s.toCheck(3, 0).tokens; len(got) != 9 {
		t.Errorf("a crash took the first of 10, and the next check asks for %d", len(got))
	}
}

// A check of a million that are pending costs what it costs with ten.
func TestACheckDoesNotLookAtEveryBarrier(t *testing.T) {
	s := newWaitSet(nil)
	first := token(t, 5)
	for i := range 1000 {
		tok := first
		tok.Origin = uint32(i)
		subscribe(s, []pgbarrier.Token{tok})
	}
	s.toCheck(1, 0)
	running := snapshot("5:200:5")
	if n := testing.AllocsPerRun(10, func() {
		s.toCheck(2, 0)
		s.ended(2, running)
		s.demand()
	}); n > 10 {
		t.Errorf("%v allocations", n)
	}
}

func TestClosingEndsEveryWaitAndEveryWaitToCome(t *testing.T) {
	s := newWaitSet(nil)
	a, b := token(t, 1), token(t, 2)
	subs := []*Subscription{subscribe(s, []pgbarrier.Token{a}), subscribe(s, []pgbarrier.Token{a, b}), subscribe(s, []pgbarrier.Token{b, b})}
	s.close(pgbarrier.ErrClosed, nil)
	for _, sub := range append(subs, subscribe(s, []pgbarrier.Token{a})) {
		if !ended(sub) || sub.Err() != pgbarrier.ErrClosed {
			t.Errorf("ended %v, %v", ended(sub), sub.Err())
		}
		sub.Close()
	}
	assertEmpty(t, s)
}

func TestACancelledWaitLeavesNothingBehind(t *testing.T) {
	s := newWaitSet(nil)
	a, b := token(t, 1), token(t, 2)
	for range 3 {
		one, both := subscribe(s, []pgbarrier.Token{a}), subscribe(s, []pgbarrier.Token{a, b})
		one.Close()
		one.Close()
		if !errors.Is(one.Err(), pgbarrier.ErrClosed) {
			t.Errorf("closed subscription: %v", one.Err())
		}
		if ended(both) {
			t.Error("closing one wait ended another")
		}
		s.toCheck(1, 0)
		both.Close()
		assertEmpty(t, s)
	}
}

// Any order of calls, from many goroutines: every wait ends with its token's outcome, and nothing is
// left. The race detector watches.
func TestManyWaitsFromManyGoroutines(t *testing.T) {
	s := newWaitSet(func(Resolved) {})
	outcome := make(map[pgbarrier.Token]pgbarrier.Status)
	var tokens []pgbarrier.Token
	for i := range 1000 {
		tok := token(t, uint64(1+i%50))
		tokens = append(tokens, tok)
		outcome[tok] = []pgbarrier.Status{pgbarrier.Committed, pgbarrier.Aborted}[i%2]
	}
	var waiters, resolvers sync.WaitGroup
	for range 8 {
		waiters.Go(func() {
			for range 2000 {
				tok := tokens[rand.IntN(len(tokens))]
				sub := subscribe(s, []pgbarrier.Token{tok})
				if rand.IntN(4) == 0 {
					sub.Close()
					continue
				}
				<-sub.Done()
				if aborted := errors.Is(sub.Err(), pgbarrier.ErrAborted); aborted != (outcome[tok] == pgbarrier.Aborted) {
					t.Errorf("%v is %v, the wait ended with %v", tok, outcome[tok], sub.Err())
				}
			}
		})
	}
	stop := make(chan struct{})
	resolvers.Go(func() {
		for n := uint64(1); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			for _, tok := range s.toCheck(n, 10).tokens {
				if outcome[tok] == pgbarrier.Committed && rand.IntN(2) == 0 {
					hear(s, tok)
				} else {
					s.apply([]pgbarrier.Token{tok}, found(outcome[tok]))
				}
			}
			if rand.IntN(20) == 0 {
				s.recheck()
			}
		}
	})
	waiters.Wait()
	close(stop)
	resolvers.Wait()
	assertEmpty(t, s)
}
