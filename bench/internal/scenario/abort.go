package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

const (
	abortLength = 10 * time.Millisecond // of a transaction, about
	// mostLanes is how many transactions abort side by side. Others stay pending.
	mostLanes = 16
)

var abortSizes = []int{1, 100, 2000}

func pendingName(n int) string { return report.Thousands(n) + " pending" }

// runAbort: nothing but checks ends these waits.
func runAbort(ctx context.Context, l *Lab) error {
	var names []string
	for _, n := range abortSizes {
		names = append(names, pendingName(n))
	}
	c := contender.Named(contender.NamePgbarrier)
	db, err := l.database(ctx, c)
	if err != nil {
		return err
	}
	defer db.Pool.Reset()
	table := l.Report.Table("abort", fmt.Sprintf("transactions of %v that roll back, up to %d at once", abortLength, mostLanes), names...)
	return l.turns(table, func(i int, row *report.Row) error { return l.abort(ctx, db, abortSizes[i], row) })
}

// abort runs lanes of transactions that abort for two durations, and measures when their waits know.
func (l *Lab) abort(ctx context.Context, db *Database, pending int, row *report.Row) error {
	if err := l.settle(ctx, db); err != nil {
		return err
	}
	w, err := contender.StartListener(ctx, db.URL, listener.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }() // measured already
	lanes := min(pending, mostLanes)
	others, end, err := pendingTokens(ctx, db, pending-lanes)
	if err != nil {
		return err
	}
	defer end()
	for _, t := range others {
		defer w.Subscribe(t).Close()
	}

	checks, begun := w.Stats().Checks, time.Now()
	latencies := make([][]time.Duration, lanes)
	var g errgroup.Group
	for lane := range lanes {
		g.Go(func() error {
			for time.Since(begun) < 2*l.Duration {
				d, err := abortOnce(ctx, w, db)
				if err != nil {
					return err
				}
				latencies[lane] = append(latencies[lane], d)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var all []time.Duration
	for _, some := range latencies {
		all = append(all, some...)
	}
	row.Add("n", float64(len(all)))
	addLatencies(row, "", all)
	row.Add("checks/s", float64(w.Stats().Checks-checks)/time.Since(begun).Seconds())
	return nil
}

// abortOnce returns the time from the end of a transaction to its wait's knowing.
func abortOnce(ctx context.Context, w *contender.ListenerWorker, db *Database) (time.Duration, error) {
	tx, err := db.Pool.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // it has, unless there is another error
	token, err := notify.Create(ctx, tx)
	if err != nil {
		return 0, err
	}
	ended := make(chan time.Time, 1)
	var outcome error
	go func() {
		outcome = w.Wait(ctx, token)
		ended <- time.Now()
	}()
	time.Sleep(abortLength*3/4 + rand.N(abortLength/2))
	err = tx.Rollback(ctx)
	rolledBack := time.Now()
	known := <-ended
	if err == nil && !errors.Is(outcome, pgbarrier.ErrAborted) {
		err = fmt.Errorf("the wait for an aborted transaction ended with %w", outcome)
	}
	return max(0, known.Sub(rolledBack)), err
}
