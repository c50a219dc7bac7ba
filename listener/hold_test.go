package listener

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// producers runs so many at once: each begins, is waited for, and commits after a while, 200 times. It returns
// how many commits were announced, and for how long the announcing lock was held at most.
func producers(t *testing.T, n int) (announced int, longest time.Duration) {
	m := newModel()
	waits := start(t, m, Config{})
	time.Sleep(time.Second)
	watching, stop := context.WithCancel(t.Context())
	var watch, all sync.WaitGroup
	watch.Go(func() {
		var since time.Time
		for ; watching.Err() == nil; sleep(watching, 100*time.Microsecond) {
			m.mu.Lock()
			if held := m.held; !held {
				since = time.Time{}
			} else if since.IsZero() {
				since = time.Now()
			} else {
				longest = max(longest, time.Since(since))
			}
			m.mu.Unlock()
		}
	})
	var mu sync.Mutex
	inFlight := false
	for p := range n {
		all.Go(func() {
			time.Sleep(time.Duration(p) * 91 * time.Microsecond)
			for i := range 200 {
				tok := token(t, uint64(1+(p*200+i)%99))
				sub := subscribe(waits, []pgbarrier.Token{tok})
				time.Sleep(time.Duration(700+13*p) * time.Microsecond)
				mu.Lock() // COMMIT
				m.mu.Lock()
				announces := !m.held && !inFlight
				m.mu.Unlock()
				inFlight = inFlight || announces
				mu.Unlock()
				time.Sleep(time.Millisecond) // the flush
				m.set(tok, pgbarrier.Committed)
				if announces {
					mu.Lock()
					announced++
					inFlight = false
					mu.Unlock()
					announce(m, tok)
				}
				<-sub.Done()
			}
		})
	}
	all.Wait()
	time.Sleep(time.Second)
	stop()
	watch.Wait()
	if m.held {
		t.Error("still held")
	}
	return announced, longest
}

func TestAnnouncementsAreLetThroughWhileOneTransactionRunsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if announced, longest := producers(t, 1); announced != 200 || longest > 0 {
			t.Errorf("%d of 200 were announced, held for %v", announced, longest)
		}
	})
}

func TestABusyListenerLetsCommitsGoUnannounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		announced, longest := producers(t, 64)
		if announced > 64*200/2 || announced == 0 {
			t.Errorf("%d of %d were announced", announced, 64*200)
		}
		if longest > heldFor+holdIdle {
			t.Errorf("held for %v", longest)
		}
	})
}

func TestAnnouncementsAreHeldOffWhenTheyWakeTooManySessions(t *testing.T) {
	for _, test := range []struct {
		announcements, sessions int
		held                    bool
	}{{1000, 10, false}, {1000, 40, false}, {1000, 200, true}, {10, 1000, false}} {
		synctest.Test(t, func(t *testing.T) {
			m := newModel()
			h := hold{lock: m}
			heard := uint64(0)
			for range 100 {
				time.Sleep(10 * time.Millisecond)
				h.begin(t.Context())
				if heard += uint64(test.announcements) / 100; m.held {
					break
				}
				h.checked(t.Context(), 0, heard, test.sessions)
			}
			if m.held != test.held {
				t.Errorf("%d announcements a second, %d sessions: held %v", test.announcements, test.sessions, m.held)
			}
		})
	}
}
