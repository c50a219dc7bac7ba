package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/sample"
)

// An abortCase is how transactions end and what else is waited for.
type abortCase struct {
	length  time.Duration // of a transaction
	killed  bool          // its producer is; otherwise it rolls back
	pending int           // waits at once
}

// manyPending is "thousands". Lanes of them abort, the others stay pending.
const (
	manyPending = 2000
	mostLanes   = 16
)

func (c abortCase) String() string {
	end, pending := "rolled back", fmt.Sprintf("%d pending", c.pending)
	if c.killed {
		end = "producer killed"
	}
	if c.pending == manyPending {
		pending = "thousands pending"
	}
	return fmt.Sprintf("%s after %v, %s", end, c.length, pending)
}

func abortCases(o Options) (cases []abortCase) {
	if o.Quick {
		return []abortCase{{10 * time.Millisecond, false, 1}, {10 * time.Millisecond, false, manyPending}, {10 * time.Millisecond, true, 1}}
	}
	for _, pending := range []int{1, mostLanes, manyPending} {
		for _, length := range []time.Duration{time.Millisecond, 10 * time.Millisecond, time.Second} {
			cases = append(cases, abortCase{length, false, pending})
		}
		cases = append(cases, abortCase{10 * time.Millisecond, true, pending})
	}
	return cases
}

// runAbort: no poller and no queue tells of an abort; a lock wait does, and is the floor.
func runAbort(ctx context.Context, l *Lab) error {
	if err := l.setFlush(ctx, flushes[0]); err != nil {
		return err
	}
	for _, c := range abortCases(l.Options) {
		if l.skips(c.String()) {
			continue
		}
		contenders := l.contenders(func(k contender.Contender) bool {
			return k.Name == contender.NamePgbarrier || k.Name == contender.NameLockWait && c.pending <= mostLanes
		})
		table := l.Report.Table("4 abort", c.String())
		table.Baseline, table.Ratio = contender.NameLockWait, "p50 ms"
		if c.pending > mostLanes {
			table.Baseline = "" // it would take a connection for each
		}
		rowsInOrder(table, contenders)
		err := l.rounds(ctx, "4 abort, "+c.String(), contenders, func(k contender.Contender, db *Database) error {
			return l.abort(ctx, k, db, c, table.Row(k.Name).Add)
		})
		if err != nil {
			return err
		}
	}
	if l.skips(nothingWaits) {
		return nil
	}
	return l.idleQueries(ctx)
}

// abort runs lanes of transactions that abort, and measures when their waits know.
func (l *Lab) abort(ctx context.Context, k contender.Contender, db *Database, c abortCase, add func(string, float64)) error {
	if err := l.settle(ctx, db); err != nil {
		return err
	}
	lanes := min(c.pending, mostLanes)
	w, err := k.Start(ctx, db.URL, lanes)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }() // measured already
	endBystanders, err := bystanders(ctx, w, db, c.pending-lanes)
	if err != nil {
		return err
	}
	defer endBystanders()
	checks := checksOf(w)
	begun := time.Now()
	latencies := make([][]time.Duration, lanes)
	enough := pick(l.Options, 20, 3)
	var g errgroup.Group
	for lane := range lanes {
		g.Go(func() error {
			for i := 0; time.Since(begun) < l.Duration || i*lanes < enough; i++ {
				d, err := abortOnce(ctx, w, db, c)
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
	took := time.Since(begun)
	var all []time.Duration
	for _, some := range latencies {
		all = append(all, some...)
	}
	found := sample.LatenciesOf(all)
	add("n", float64(found.N))
	add("p50 ms", found.P50)
	add("p99 ms", found.P99)
	add("checks/s", float64(checksOf(w)-checks)/took.Seconds())
	return nil
}

// abortOnce returns the time from the end of a transaction to its wait's knowing.
func abortOnce(ctx context.Context, w contender.Worker, db *Database, c abortCase) (time.Duration, error) {
	conn, err := db.Pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	ended, err := awaitEnd(ctx, w, tx)
	if err != nil {
		return 0, err
	}
	time.Sleep(c.length*3/4 + rand.N(c.length/2))
	if c.killed {
		// As the kernel does for a process that is gone; the server reads the end of the stream.
		err = conn.Conn().PgConn().Conn().Close()
		defer func() { _ = conn.Conn().Close(ctx) }() // the pool must not use it again
	} else {
		err = tx.Rollback(ctx)
	}
	at := time.Now()
	if err != nil {
		return 0, err
	}
	select {
	case committed := <-ended:
		if committed {
			return 0, fmt.Errorf("a wait for an aborted transaction ended as committed")
		}
		return time.Since(at), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(30 * time.Second):
		return 0, fmt.Errorf("the wait did not end within 30 s of the abort")
	}
}

// bystanders begins waits for n barriers of open transactions, a hundred each.
func bystanders(ctx context.Context, w contender.Worker, db *Database, n int) (end func(), err error) {
	var txs []pgx.Tx
	end = func() {
		for _, tx := range txs {
			_ = tx.Rollback(context.WithoutCancel(ctx)) // nothing in it counts
		}
	}
	for n > 0 {
		tx, err := db.Pool.Begin(ctx)
		if err != nil {
			end()
			return nil, err
		}
		txs = append(txs, tx)
		for range min(n, 100) {
			if _, err := awaitEnd(ctx, w, tx); err != nil {
				end()
				return nil, err
			}
			n--
		}
	}
	return end, nil
}
