package scenario

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/sample"
)

// idleThink leaves the wait time to be under way before the commit, whatever has to be asked first.
const idleThink = 5 * time.Millisecond

// runIdle: one transaction at a time on a server that does nothing else.
func runIdle(ctx context.Context, l *Lab) error {
	contenders := l.contenders(func(c contender.Contender) bool { return !c.Silent })
	for _, f := range pick(l.Options, flushes, flushes[:1]) {
		if l.skips(f.name) {
			continue
		}
		if err := l.setFlush(ctx, f); err != nil {
			return err
		}
		table := l.Report.Table("1 idle", f.name)
		table.Baseline, table.Ratio = contender.NameListen, "p50 ms"
		rowsInOrder(table, contenders)
		err := l.rounds(ctx, "1 idle, "+f.name, contenders, func(c contender.Contender, db *Database) error {
			jobs, err := l.idleJobs(ctx, c, db)
			if err != nil {
				return err
			}
			var latencies []time.Duration
			for _, j := range jobs {
				latencies = append(latencies, j.SinceReturned())
			}
			found := sample.LatenciesOf(latencies)
			row := table.Row(c.Name)
			row.Add("n", float64(found.N))
			row.Add("p50 ms", found.P50)
			row.Add("p99 ms", found.P99)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// idleJobs runs transactions one after the other for the duration, and longer for those that would
// have too few: a poller takes half of its period for each.
func (l *Lab) idleJobs(ctx context.Context, c contender.Contender, db *Database) ([]*contender.Job, error) {
	if err := l.settle(ctx, db); err != nil {
		return nil, err
	}
	w, err := c.Start(ctx, db.URL, 2)
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }() // measured already
	conn, err := db.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	if err := l.warmUp(ctx, conn.Conn(), c, w); err != nil {
		return nil, err
	}
	enough := pick(l.Options, 20, 3)
	var jobs []*contender.Job
	for begun := time.Now(); time.Since(begun) < l.Duration || len(jobs) < enough; {
		// At a random moment of its period.
		if c.Period > 0 {
			time.Sleep(rand.N(c.Period))
		}
		job := contender.NewJob(l.nextID())
		if err := transact(ctx, conn.Conn(), w, job, idleThink); err != nil {
			return nil, err
		}
		select {
		case <-job.Ran():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}
