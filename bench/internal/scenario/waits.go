package scenario

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	"github.com/pgbarrier/pgbarrier/listener"
)

const (
	fewWaits  = 10
	manyWaits = 1_000_000
)

func waitsName(n int) string { return report.Thousands(n) + " waits" }

// runWaits: many waits on one listener, none of which ends. A few are what the cost of checks is compared with.
func runWaits(ctx context.Context, l *Lab) error {
	db, err := l.database(ctx, contender.Named(contender.NamePgbarrier))
	if err != nil {
		return err
	}
	defer db.Pool.Reset()
	sizes := []int{fewWaits, manyWaits}
	if l.Quick {
		sizes[1] /= 100
	}
	table := l.Report.Table("waits", fmt.Sprintf("one listener, tokens of %d open transactions; checks of one token more", openTransactions), waitsName(fewWaits), waitsName(manyWaits))
	return l.turns(table, func(i int, row *report.Row) error { return l.waits(ctx, db, sizes[i], row) })
}

func (l *Lab) waits(ctx context.Context, db *Database, n int, row *report.Row) error {
	if err := l.settle(ctx, db); err != nil {
		return err
	}
	tokens, end, err := pendingTokens(ctx, db, n)
	if err != nil {
		return err
	}
	defer end()
	asked, err := committedTokens(ctx, db, 1)
	if err != nil {
		return err
	}
	var (
		mu   sync.Mutex
		took []time.Duration
	)
	// The name finds its sessions.
	w, err := contender.StartListener(ctx, db.URL+"&application_name=waits", listener.Config{
		Trace: listener.Trace{Checked: func(c listener.Checked) {
			mu.Lock()
			defer mu.Unlock()
			took = append(took, c.Took)
		}},
	})
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }() // measured already

	subscriptions := make([]*listener.Subscription, n)
	heap, begun := heapInUse(), time.Now()
	for i, t := range tokens {
		subscriptions[i] = w.Subscribe(t)
	}
	registered := time.Since(begun)
	if _, err := w.Check(ctx, asked[0]); err != nil { // after which all have been asked for once
		return err
	}
	if n > fewWaits {
		row.Add("register µs", microseconds(registered)/float64(n))
		row.Add("first check µs/wait", microseconds(time.Since(begun)-registered)/float64(n))
		row.Add("B/wait", (heapInUse()-heap)/float64(n))
	}

	// Checks that somebody asks for; the waits are asked for as well when they are due. The client's CPU time
	// would have the garbage collector's work in it, the time that checks take has it only if it is in their way.
	sessions, err := l.admin.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE application_name = 'waits'")
	if err != nil {
		return err
	}
	pids, err := pgx.CollectRows(sessions, pgx.RowTo[int])
	if err != nil {
		return err
	}
	mu.Lock()
	took = took[:0]
	mu.Unlock()
	cpu, checks := cpuOf(pids...), w.Stats().Checks
	for begun := time.Now(); time.Since(begun) < l.Duration; {
		if _, err := w.Check(ctx, asked[0]); err != nil {
			return err
		}
	}
	checks = w.Stats().Checks - checks
	row.Add("checks", float64(checks))
	row.Add("check server CPU µs", (cpuOf(pids...)-cpu)/float64(checks))
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(took)
	row.Add("check ms", milliseconds(percentile(took, 50)))

	if waiting := w.Stats().Waiting; waiting != n {
		return fmt.Errorf("%d of %d waits are left: their transactions are open", waiting, n)
	}
	runtime.KeepAlive(subscriptions)
	return nil
}

// heapInUse returns bytes that are in use after a collection.
func heapInUse() float64 {
	runtime.GC()
	runtime.GC() // what the first has freed by finalizers
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
