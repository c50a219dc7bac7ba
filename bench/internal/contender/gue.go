package contender

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/vgarvardt/gue/v5"
	"github.com/vgarvardt/gue/v5/adapter/pgxv5"
)

const gueWorkers = 8

// gueContender enqueues with EnqueueTx; each worker of the pool asks for one job at a time, at once again
// when there was one.
func gueContender() Contender {
	return Contender{
		Name:   "gue 10 ms",
		About:  fmt.Sprintf("v5.8.0, EnqueueTx, WorkerPool of %d, poll interval 10 ms instead of 5 s", gueWorkers),
		Period: pollPeriod,
		Install: func(ctx context.Context, pool *pgxpool.Pool) error {
			// The module has its schema as a file only.
			return execute(ctx, pool,
				`CREATE TABLE gue_jobs (job_id text PRIMARY KEY, priority smallint NOT NULL, run_at timestamptz NOT NULL,
					job_type text NOT NULL, args bytea NOT NULL, error_count integer NOT NULL DEFAULT 0, last_error text,
					queue text NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)`,
				`CREATE INDEX idx_gue_jobs_selector ON gue_jobs (queue, run_at, priority)`)
		},
		Clear: "TRUNCATE gue_jobs",
		Start: startGue,
	}
}

type gueWorker struct {
	pool   *pgxpool.Pool
	client *gue.Client
	board  *board
	stop   context.CancelFunc
	tasks  sync.WaitGroup
}

func startGue(ctx context.Context, url string, _ int) (Worker, error) {
	pool, err := poolOf(ctx, url, gueWorkers)
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	w := &gueWorker{pool: pool, board: newBoard(), stop: stop}
	if w.client, err = gue.NewClient(pgxv5.NewConnPool(pool)); err != nil {
		_ = w.Close() // err says more
		return nil, err
	}
	workers, err := gue.NewWorkerPool(w.client, gue.WorkMap{"row": w.work}, gueWorkers, gue.WithPoolPollInterval(pollPeriod))
	if err != nil {
		_ = w.Close() // err says more
		return nil, err
	}
	w.tasks.Go(func() { _ = workers.Run(run) }) // one that fails shows as jobs that never ran
	return w, nil
}

func (w *gueWorker) work(_ context.Context, job *gue.Job) error {
	var args rowArgs
	if err := json.Unmarshal(job.Args, &args); err != nil {
		return err
	}
	if j := w.board.take(args.Row); j != nil {
		j.Run()
	}
	return nil
}

// Produce implements Worker.
func (w *gueWorker) Produce(ctx context.Context, tx pgx.Tx, job *Job) error {
	w.board.add(job)
	if _, err := tx.Exec(ctx, InsertRow, job.ID); err != nil {
		return err
	}
	return w.client.EnqueueTx(ctx, &gue.Job{Type: "row", Args: fmt.Appendf(nil, `{"row": %d}`, job.ID)}, pgxv5.NewTx(tx))
}

// Close implements Worker.
func (w *gueWorker) Close() error {
	w.stop()
	w.tasks.Wait()
	w.pool.Close()
	return nil
}
