package listener

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// endings subscribes to n tokens of running transactions, lets them grow old, aborts the first, and
// returns how long that wait lasted then and what ended it.
func endings(t *testing.T, m *model, config Config, n int, age time.Duration) (time.Duration, How) {
	t.Helper()
	ends := make(chan How, 2*n)
	config.Trace.Resolved = func(r Resolved) { ends <- r.By }
	waits, _ := start(t, m, config)
	var tokens []pgbarrier.Token
	var subs []*Subscription
	for i := range n {
		tokens = append(tokens, token(t, uint64(1+i%90)))
		sub := waits.subscribe(tokens[i:])
		defer sub.Close()
		subs = append(subs, sub)
	}
	time.Sleep(age)
	m.set(tokens[0], pgbarrier.Aborted)
	m.end(tokens[0].XID)
	aborted := time.Now()
	<-subs[0].Done()
	if !errors.Is(subs[0].Err(), pgbarrier.ErrAborted) {
		t.Error(subs[0].Err())
	}
	late := time.Since(aborted)
	return late, <-ends
}

func TestTheWatchSeesAnAbortAtItsNextLook(t *testing.T) {
	for name, test := range map[string]struct {
		pending     int
		age, within time.Duration
		by          How
	}{
		"young":                 {1, 20 * time.Millisecond, time.Millisecond, ByWatch},
		"old":                   {1, 10 * time.Second, 10 * time.Millisecond, ByWatch},
		"too old":               {1, time.Minute, time.Second, ByCheck},
		"few":                   {fewTokens, time.Second, time.Millisecond, ByWatch},
		"many, by the snapshot": {1000, time.Second, time.Millisecond, ByCheck},
		"many and old":          {1000, 10 * time.Second, 10 * time.Millisecond, ByCheck},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				late, by := endings(t, newModel(), Config{}, test.pending, test.age)
				if late > test.within || by != test.by && test.age >= time.Second { // a check may be due at the same look
					t.Errorf("ended after %v by %v, want %v by %v", late, by, test.within, test.by)
				}
			})
		})
	}
}

func TestWaitsEndByChecksWhenNothingCanBeWatched(t *testing.T) {
	for name, test := range map[string]struct {
		config Config
		err    error
	}{
		"no session":    {Config{PollOnly: true}, nil},
		"an outage":     {Config{}, errRefused},
		"no permission": {Config{}, errors.New("permission denied")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel()
				m.watchErr = test.err
				late, by := endings(t, m, test.config, 1, 100*time.Millisecond)
				if late > 100*time.Millisecond/ageShare+time.Millisecond || by != ByCheck {
					t.Errorf("ended after %v by %v", late, by)
				}
				if most := 12; m.looks() > most {
					t.Errorf("%d attempts to watch in 0.1 s, want %d at most", m.looks(), most)
				}
			})
		})
	}
}

func TestNothingIsWatchedWhileNothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits, _ := start(t, m, Config{})
		time.Sleep(time.Hour)
		if m.looks() > 0 {
			t.Errorf("%d looks before there was a wait", m.looks())
		}
		sub := waits.subscribe([]pgbarrier.Token{token(t, 7)})
		time.Sleep(time.Second)
		if m.looks() < 300 {
			t.Errorf("%d looks in the first second", m.looks())
		}
		sub.Close()
		time.Sleep(time.Second)
		before := m.looks()
		time.Sleep(time.Hour)
		if m.looks() > before {
			t.Errorf("%d looks when the wait was closed", m.looks()-before)
		}
	})
}

// Announcements come at any rate, also from those who have no right to. The watch sees what they can
// tell of.
func TestAnnouncementsCauseNoChecksWhileThereIsAWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits, _ := start(t, m, Config{})
		sub := waits.subscribe([]pgbarrier.Token{token(t, 7)})
		defer sub.Close()
		time.Sleep(time.Second)
		before := m.statements()
		for range 100 {
			waits.announce(token(t, 8))
			time.Sleep(time.Millisecond)
		}
		if asked := m.statements() - before; asked > 2 {
			t.Errorf("%d checks for 100 announcements", asked)
		}
	})
}
