package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
)

// transact is the transaction of every contender: insert the row, hand out work for it, do something
// else for think, commit.
func transact(ctx context.Context, conn *pgx.Conn, w contender.Worker, job *contender.Job, think time.Duration) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if err := w.Produce(ctx, tx, job); err != nil {
		_ = tx.Rollback(ctx) // err says more
		return err
	}
	time.Sleep(think)
	job.CommitSent()
	err = tx.Commit(ctx)
	job.CommitReturned()
	return err
}

// warmUp runs one job, so that what is measured then is a worker that works: River and watermill come
// up in the background.
func (l *Lab) warmUp(ctx context.Context, conn *pgx.Conn, c contender.Contender, w contender.Worker) error {
	job := contender.NewJob(l.nextID())
	if err := transact(ctx, conn, w, job, 0); err != nil {
		return err
	}
	if c.Silent {
		return nil
	}
	select {
	case <-job.Ran():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(30 * time.Second):
		return fmt.Errorf("the first handler did not run within 30 s")
	}
}
