package scenario

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
)

// idleThink leaves the wait time to be under way before the commit, whatever has to be asked first.
const idleThink = 5 * time.Millisecond

// runIdle: one transaction at a time on a server that does nothing else.
func runIdle(ctx context.Context, l *Lab) error {
	keep := func(c contender.Contender) bool { return !c.Silent }
	return l.compare(ctx, "idle", "one transaction at a time, 5 ms inside", keep, func(c contender.Contender, db *Database, row *report.Row) error {
		jobs, err := l.idleJobs(ctx, c, db)
		if err != nil {
			return err
		}
		var sent, returned []time.Duration
		for _, j := range jobs {
			sent, returned = append(sent, j.SinceSent()), append(returned, j.SinceReturned())
		}
		row.Add("n", float64(len(jobs)))
		addLatencies(row, "", returned)
		addLatencies(row, "sent→run ", sent)
		return nil
	})
}

// idleJobs runs transactions one after the other for two durations: a p99 needs some hundreds.
func (l *Lab) idleJobs(ctx context.Context, c contender.Contender, db *Database) (jobs []*contender.Job, err error) {
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

	for begun := time.Now(); time.Since(begun) < 2*l.Duration; {
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
