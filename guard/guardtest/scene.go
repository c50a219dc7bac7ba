package guardtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

const (
	budget = 200 * time.Millisecond // of the suite's guards, unless a case is about it
	delay  = 500 * time.Millisecond // of what is given back

	ample = 20 // attempts, where they do not matter
)

// A scene is one case's: its table, its queue, its workers, and what they did.
type scene struct {
	testing.TB
	ctx     context.Context
	db      Database
	adapter Adapter
	name    string // unique, for the table, the queue and the messages
	table   string
	queue   Queue
	waiter  *overlay
	workers []*worker

	mu       sync.Mutex
	changed  chan struct{} // closed, and replaced, when something below has
	ended    bool          // nothing may be reported any more
	sent     int
	hasRow   map[string]bool // messages of a transaction that writes a row with their id
	runs     map[string][]time.Time
	finished map[string]int // runs that returned nil
	fate     map[string]func(ctx context.Context, run int) error
	asked    map[pgbarrier.Token]bool
	hidden   map[pgbarrier.Token]bool // that were asked about while they were hidden
	verdicts map[pgbarrier.Token][]guard.Decision
	others   []guard.Decision // about messages without a token
}

func newScene(t testing.TB, db Database, a Adapter) *scene {
	t.Helper()
	name := "guardtest-" + strings.ToLower(rand.Text()[:12])
	s := &scene{
		TB: t, ctx: t.Context(), db: db, adapter: a, name: name, table: strings.ReplaceAll(name, "-", "_"),
		changed: make(chan struct{}), hasRow: map[string]bool{}, runs: map[string][]time.Time{}, finished: map[string]int{},
		fate: map[string]func(context.Context, int) error{}, asked: map[pgbarrier.Token]bool{}, hidden: map[pgbarrier.Token]bool{}, verdicts: map[pgbarrier.Token][]guard.Decision{},
	}
	s.waiter = newOverlay(db.Waiter, func(t pgbarrier.Token, hidden bool) {
		s.change(func() {
			s.asked[t] = true
			s.hidden[t] = s.hidden[t] || hidden
		})
	})
	if _, err := db.Pool.Exec(s.ctx, "CREATE TABLE "+s.table+" (id text PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.adapter.patience())
		defer cancel()
		_, _ = db.Pool.Exec(ctx, "DROP TABLE "+s.table)
	})
	return s
}

// open opens the case's queue. Its workers are stopped before it is closed.
func (s *scene) open(attempts int) {
	s.Helper()
	s.queue = s.adapter.Open(s.TB, s.name, max(attempts, s.adapter.leastAttempts()))
	s.Cleanup(func() {
		for _, w := range s.workers {
			s.stop(w)
		}
		s.change(func() { s.ended = true })
	})
}

func (s *scene) observe(d guard.Decision) {
	s.change(func() {
		for _, t := range d.Tokens {
			s.verdicts[t] = append(s.verdicts[t], d)
		}
		if len(d.Tokens) == 0 {
			s.others = append(s.others, d)
		}
	})
}

func (s *scene) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// until waits for a condition on what the workers did. It fails the test if that does not come.
func (s *scene) until(what string, condition func() bool) {
	s.Helper()
	s.untilWithin(s.adapter.patience(), what, condition)
}

func (s *scene) untilWithin(limit time.Duration, what string, condition func() bool) {
	s.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		holds, changed := condition(), s.changed
		s.mu.Unlock()
		if holds {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			s.Fatalf("it did not come within %v that %s\n%s", limit, what, s.state())
		}
	}
}

// state is what a failure shows.
func (s *scene) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(s.runs)) {
		fmt.Fprintf(&b, "%s ran %d times, %d of them to the end\n", id, len(s.runs[id]), s.finished[id])
	}
	for t, decisions := range s.verdicts {
		verdicts := map[string]int{}
		for _, d := range decisions {
			verdicts[fmt.Sprint(d.Verdict)]++
		}
		fmt.Fprintf(&b, "%v: %v\n", t, verdicts)
	}
	for _, d := range s.others {
		fmt.Fprintf(&b, "without a token: %v, %v\n", d.Verdict, d.Err)
	}
	return b.String()
}
