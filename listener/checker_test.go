package listener

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

var pollOnly = Config{PollOnly: true}

func TestACheckEndsAWaitThatIsAlreadyDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, pollOnly)
		a := token(t, 7)
		m.set(a, pgbarrier.Aborted)
		begun := time.Now()
		sub := subscribe(waits, []pgbarrier.Token{a})
		<-sub.Done()
		if !errors.Is(sub.Err(), pgbarrier.ErrAborted) || time.Since(begun) > 0 {
			t.Errorf("after %v: %v", time.Since(begun), sub.Err())
		}
	})
}

func TestNothingIsAskedWhileNothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, pollOnly)
		a := token(t, 7)
		sub := subscribe(waits, []pgbarrier.Token{a})
		synctest.Wait()
		sub.Close()
		before := m.statements()
		time.Sleep(time.Hour)
		if asked := m.statements() - before; asked > 1 { // one may have been on its way
			t.Errorf("%d statements in an idle hour", asked)
		}
	})
}

func TestDelaysGrowWithTheAgeOfWhatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, pollOnly)
		sub := subscribe(waits, []pgbarrier.Token{token(t, 7)})
		defer sub.Close()
		time.Sleep(4 * time.Second)
		young := m.statements()
		if young < 100 || young > 250 {
			t.Errorf("%d checks in the first 4 s, want about 160", young)
		}
		time.Sleep(time.Hour)
		if old := m.statements() - young; old < 3500 || old > 3800 {
			t.Errorf("%d checks in the hour after, want about one a second", old)
		}
	})
}

// Two begin to wait for one transaction between two checks, long apart in an outage.
func TestTheYoungestOfOneTransactionSetsThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitSet(nil)
		defer subscribe(s, []pgbarrier.Token{token(t, 7)}).Close()
		time.Sleep(time.Second)
		defer subscribe(s, []pgbarrier.Token{token(t, 7)}).Close()
		s.toCheck(1, 64)
		s.checked()
		if youngest := s.demand().youngest; !youngest.Equal(time.Now()) {
			t.Errorf("the youngest is %v old", time.Since(youngest))
		}
	})
}

// A rider commits unannounced while another transaction's announcement is in flight.
func TestARiderIsFoundByACheckAfterAnAnnouncementOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		var how []How
		waits := start(t, m, Config{PollOnly: true, Trace: Trace{Resolved: func(r Resolved) { how = append(how, r.By) }}})
		rider := token(t, 7)
		sub := subscribe(waits, []pgbarrier.Token{rider})
		time.Sleep(time.Hour)

		hear(waits, token(t, 8))
		time.Sleep(3 * time.Millisecond) // the rider is not the first to be visible
		m.set(rider, pgbarrier.Committed)
		committed := time.Now()
		<-sub.Done()
		if sub.Err() != nil || time.Since(committed) > 3*time.Millisecond {
			t.Errorf("%v after its commit: %v", time.Since(committed), sub.Err())
		}
		synctest.Wait()
		if len(how) != 1 || how[0] != ByCheck {
			t.Errorf("resolved by %v", how)
		}
	})
}

func TestAllWaitsShareOneCheckAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, pollOnly)
		for range 1000 {
			defer subscribe(waits, []pgbarrier.Token{token(t, 7)}).Close()
			time.Sleep(100 * time.Microsecond)
		}
		// 100 ms at one check in two milliseconds.
		if n := m.statements(); n > 60 {
			t.Errorf("%d checks for 1000 waits in 100 ms", n)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		asked := 0
		for _, tokens := range m.asked[10:] {
			asked += len(tokens)
		}
		if asked > 1200 {
			t.Errorf("asked for %d tokens, though only 1000 are new and none has ended", asked)
		}
	})
}

func TestAForgedFloodCausesChecksAtABoundedRateOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, pollOnly)
		sub := subscribe(waits, []pgbarrier.Token{token(t, 7)})
		defer sub.Close()
		for range 10_000 {
			hear(waits, token(t, 8))
			time.Sleep(10 * time.Microsecond)
		}
		if n := m.statements(); n > 60 {
			t.Errorf("%d checks in 100 ms", n)
		}
		if ended(sub) {
			t.Error("it ended a wait")
		}
	})
}

func TestAnOutageDelaysAWaitAndNeverEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, pollOnly)
		listening(waits, true)
		a, known := token(t, 7), token(t, 8)
		hear(waits, known)
		sub := subscribe(waits, []pgbarrier.Token{a})
		synctest.Wait()
		m.setDown(errBroken)
		time.Sleep(time.Hour)
		if ended(sub) {
			t.Fatalf("ended with %v", sub.Err())
		}
		synctest.Wait()
		if numbers(waits).checkErr == nil || numbers(waits).FailedChecks < 3500 || numbers(waits).FailedChecks > 3700 {
			t.Errorf("%d failed checks in an hour, last with %v, want about one a second", numbers(waits).FailedChecks, numbers(waits).checkErr)
		}
		// A commit that was only visible may be gone.
		again := subscribe(waits, []pgbarrier.Token{known})
		defer again.Close()
		if ended(again) {
			t.Error("believed what was heard before the outage")
		}
		m.set(a, pgbarrier.Committed)
		m.setDown(nil)
		back := time.Now()
		<-sub.Done()
		if sub.Err() != nil || time.Since(back) > time.Second {
			t.Errorf("%v after the end of the outage: %v", time.Since(back), sub.Err())
		}
	})
}

// One statement has to find all tokens of a wait for several, however many a statement has otherwise.
func TestTheTokensOfAWaitForManyAreAskedForInOneStatement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, pollOnly)
		var tokens []pgbarrier.Token
		for range 500 { // ten times as many
			subscribe(waits, []pgbarrier.Token{token(t, 7)})
			tokens = append(tokens, token(t, 8))
		}
		sub := subscribe(waits, tokens)
		time.Sleep(time.Second)
		for _, tok := range tokens {
			m.set(tok, pgbarrier.Committed)
		}
		if err := waitFor(sub); err != nil {
			t.Error(err)
		}
		sizes := make(map[int]int)
		for _, asked := range m.asked {
			if len(asked) > 50 {
				sizes[len(asked)]++
			}
		}
		if len(sizes) != 1 || sizes[500] == 0 {
			t.Errorf("large statements have so many tokens: %v", sizes)
		}
	})
}
