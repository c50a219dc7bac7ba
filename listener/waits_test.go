package listener

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// assertEmpty: an ended or canceled wait leaves nothing behind.
func assertEmpty(t *testing.T, s *waitSet) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) != 0 || s.fresh.size != 0 || s.fresh.first != nil || len(s.running) != 0 || s.waiting != 0 {
		t.Errorf("left behind: %d pending, %d fresh, %d transactions, %d waits", len(s.pending), s.fresh.size, len(s.running), s.waiting)
	}
}

func TestAWaitEndsWithTheOutcomeOfItsToken(t *testing.T) {
	for _, status := range []pgbarrier.Status{pgbarrier.Committed, pgbarrier.Aborted, pgbarrier.Expired, pgbarrier.WrongDatabase, pgbarrier.Invalid} {
		s := newWaitSet(nil)
		a, b := token(t, 7), token(t, 7)
		subA, subB := s.subscribe([]pgbarrier.Token{a}), s.subscribe([]pgbarrier.Token{b})
		if err := subA.Err(); err != ErrPending {
			t.Errorf("Err before Done is %v, want ErrPending", err)
		}
		s.judged([]pgbarrier.Token{a, b}, []pgbarrier.Status{status, pgbarrier.Pending}, ByCheck)
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
		subs = append(subs, s.subscribe([]pgbarrier.Token{a}))
		subs = append(subs, s.subscribe([]pgbarrier.Token{a, a})) // twice in one wait
	}
	s.judged([]pgbarrier.Token{a}, []pgbarrier.Status{pgbarrier.Committed}, ByCheck)
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
	sub := s.subscribe([]pgbarrier.Token{a, b, c})
	s.announce(b)
	s.judged([]pgbarrier.Token{a}, []pgbarrier.Status{pgbarrier.Committed}, ByCheck)
	if ended(sub) {
		t.Error("ended while a token is pending")
	}
	s.announce(c)
	if ended(sub) {
		t.Error("an announcement may be from before a crash: a check has to find all")
	}
	s.judged([]pgbarrier.Token{a, b, c}, []pgbarrier.Status{pgbarrier.Committed, pgbarrier.Committed, pgbarrier.Committed}, ByCheck)
	if !ended(sub) || sub.Err() != nil {
		t.Errorf("all are committed: ended %v, %v", ended(sub), sub.Err())
	}
	assertEmpty(t, s)

	s = newWaitSet(nil)
	sub = s.subscribe([]pgbarrier.Token{a, b, c})
	s.judged([]pgbarrier.Token{b}, []pgbarrier.Status{pgbarrier.Aborted}, ByCheck)
	var tokenErr *pgbarrier.TokenError
	if !ended(sub) || !errors.As(sub.Err(), &tokenErr) || tokenErr.Token != b {
		t.Errorf("one has aborted: ended %v, %v", ended(sub), sub.Err())
	}
	assertEmpty(t, s)

	// The same outcome later, from memory, and nothing is registered for the others.
	sub = s.subscribe([]pgbarrier.Token{a, b, c})
	if !errors.Is(sub.Err(), pgbarrier.ErrAborted) {
		t.Errorf("again: %v", sub.Err())
	}
	assertEmpty(t, s)
}

func TestAnAnnouncementEndsOnlyTheWaitForExactlyItsToken(t *testing.T) {
	s := newWaitSet(nil)
	a := token(t, 7)
	otherXID, otherOrigin := a, a
	otherXID.XID++
	otherOrigin.Origin++
	subs := []*Subscription{s.subscribe([]pgbarrier.Token{otherXID}), s.subscribe([]pgbarrier.Token{otherOrigin})}
	s.announce(a)
	for _, sub := range subs {
		if ended(sub) {
			t.Error("the same id with another xid or origin ended a wait")
		}
		sub.Close()
	}
	if err := s.hear("pgb1.not-a-token"); !errors.Is(err, pgbarrier.ErrInvalidToken) || s.counts.malformed != 1 {
		t.Errorf("malformed: %v, counted %d", err, s.counts.malformed)
	}
}

func TestWhatWasAnnouncedBeforeTheWaitEndsItAtOnce(t *testing.T) {
	s := newWaitSet(nil)
	a := token(t, 7)
	s.announce(a)
	if sub := s.subscribe([]pgbarrier.Token{a}); !ended(sub) || sub.Err() != nil {
		t.Errorf("ended %v, %v", ended(sub), sub.Err())
	}
	assertEmpty(t, s)

	// A crash may have undone what was heard.
	s.recheck()
	sub := s.subscribe([]pgbarrier.Token{a})
	if ended(sub) {
		t.Error("believed what was heard before the connection was lost")
	}
	sub.Close()
}

func TestACommitIsRememberedForASecondAndAnAbortForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitSet(nil)
		a, b := token(t, 7), token(t, 8)
		s.announce(a)
		s.judged([]pgbarrier.Token{b}, []pgbarrier.Status{pgbarrier.Aborted}, ByCheck)
		time.Sleep(commitMemory)
		if sub := s.subscribe([]pgbarrier.Token{a}); !ended(sub) {
			t.Error("forgotten too soon")
		}
		time.Sleep(time.Hour)
		sub := s.subscribe([]pgbarrier.Token{a})
		defer sub.Close()
		if ended(sub) {
			t.Error("a failover meanwhile could have lost the commit")
		}
		if sub := s.subscribe([]pgbarrier.Token{b}); !errors.Is(sub.Err(), pgbarrier.ErrAborted) {
			t.Error(sub.Err())
		}
	})
}

func TestMemoryOfOutcomesIsBounded(t *testing.T) {
	s := newWaitSet(nil)
	first := token(t, 7)
	s.announce(first)
	for range recentSize {
		s.announce(token(t, 7))
	}
	if len(s.recent.outcomes) != recentSize || len(s.recent.ring) != recentSize {
		t.Errorf("%d outcomes, %d in the ring, want %d", len(s.recent.outcomes), len(s.recent.ring), recentSize)
	}
	if _, known := s.recent.outcome(first, time.Now()); known {
		t.Error("the oldest is still there")
	}
}

func TestACheckAsksForWhatIsNewAndForWhatHasEnded(t *testing.T) {
	s := newWaitSet(nil)
	const few = 0
	running, gone := token(t, 5), token(t, 150)
	s.subscribe([]pgbarrier.Token{running})
	s.subscribe([]pgbarrier.Token{gone})
	if got, _ := s.toCheck(1, few); len(got) != 2 {
		t.Errorf("first check asks for %d, want both", len(got))
	}
	snapshot, err := pgbarrier.ParseSnapshot("5:200:5")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.notRunning(1, snapshot); len(got) != 0 {
		t.Errorf("asks twice for %v in one check", got)
	}
	fresh := token(t, 5)
	s.subscribe([]pgbarrier.Token{fresh})
	if got, _ := s.toCheck(2, few); len(got) != 1 || got[0] != fresh {
		t.Errorf("second check asks for %v, want the fresh one", got)
	}
	if got := s.notRunning(2, snapshot); len(got) != 1 || got[0] != gone {
		t.Errorf("second check goes on with %v, want the ended one", got)
	}
	s.recheck()
	if got, _ := s.toCheck(3, few); len(got) != 3 {
		t.Errorf("after a reconnect asks for %d, want all", len(got))
	}
	if got, _ := s.toCheck(4, 3); len(got) != 3 {
		t.Errorf("with few pending asks for %d, want all", len(got))
	}
}

func TestClosingEndsEveryWaitAndEveryWaitToCome(t *testing.T) {
	s := newWaitSet(nil)
	a, b := token(t, 1), token(t, 2)
	subs := []*Subscription{s.subscribe([]pgbarrier.Token{a}), s.subscribe([]pgbarrier.Token{a, b}), s.subscribe([]pgbarrier.Token{b, b})}
	s.close(pgbarrier.ErrClosed)
	for _, sub := range append(subs, s.subscribe([]pgbarrier.Token{a})) {
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
		one, both := s.subscribe([]pgbarrier.Token{a}), s.subscribe([]pgbarrier.Token{a, b})
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
				sub := s.subscribe([]pgbarrier.Token{tok})
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
			asked, _ := s.toCheck(n, 10)
			for _, tok := range asked {
				if outcome[tok] == pgbarrier.Committed && rand.IntN(2) == 0 {
					s.announce(tok)
				} else {
					s.judged([]pgbarrier.Token{tok}, []pgbarrier.Status{outcome[tok]}, ByCheck)
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
