package scenario

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
)

const nothingWaits = "queries while nothing waits"

// idleQueries counts what the workers ask while there is nothing to wait for: by pg_stat_statements, which
// counts exactly and at once, on a server of its own, because it would cost the other measurements time.
func (l *Lab) idleQueries(ctx context.Context) error {
	with := maps.Clone(settings)
	with["shared_preload_libraries"] = "pg_stat_statements"
	other, err := newLab(ctx, l.Options, l.Progress, with)
	if err == nil {
		defer func() { _ = other.Close() }() // measured already
		_, err = other.admin.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
	}
	if err != nil {
		l.Report.Notes = append(l.Report.Notes, fmt.Sprintf("queries while nothing waits were not counted, pg_stat_statements is not to be had: %v", err))
		return nil
	}
	window := pick(l.Options, 20*time.Second, 300*time.Millisecond)
	table := l.Report.Table("4 abort", nothingWaits)
	// A lock wait that waits for nothing is no worker.
	contenders := l.contenders(func(c contender.Contender) bool { return !c.Silent && !c.ConnectionPerWait })
	rowsInOrder(table, contenders)
	for _, c := range contenders {
		l.Progress("4 abort, queries while nothing waits · " + c.Name)
		queries, err := other.queriesOf(ctx, c, window)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		table.Row(c.Name).Add("queries/s", queries/window.Seconds())
	}
	return nil
}

// queriesOf returns how many statements the idle worker's database sees in the window.
func (l *Lab) queriesOf(ctx context.Context, c contender.Contender, window time.Duration) (calls float64, err error) {
	db, err := l.database(ctx, c)
	if err != nil {
		return 0, err
	}
	defer db.Pool.Reset()
	w, err := c.Start(ctx, db.URL, 1)
	if err != nil {
		return 0, err
	}
	defer func() { _ = w.Close() }() // measured already
	conn, err := db.Pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	if err := l.warmUp(ctx, conn.Conn(), c, w); err != nil {
		return 0, err
	}
	time.Sleep(pick(l.Options, 2*time.Second, 100*time.Millisecond)) // what follows a job
	var oid uint32
	if err := conn.QueryRow(ctx, "SELECT oid FROM pg_database WHERE datname = current_database()").Scan(&oid); err != nil {
		return 0, err
	}
	if _, err := l.admin.Exec(ctx, "SELECT pg_stat_statements_reset()"); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(window):
	}
	err = l.admin.QueryRow(ctx, "SELECT coalesce(sum(calls), 0)::float8 FROM pg_stat_statements WHERE dbid = $1", oid).Scan(&calls)
	return calls, err
}
