package contender

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// lockWaitContender waits in the database: inserting a key that an open transaction has inserted
// blocks until that transaction has ended, either way. The quickest wake-up there is, for a connection
// per wait.
func lockWaitContender() Contender {
	return Contender{
		Name:  NameLockWait,
		About: "a connection per wait inserts the same key ON CONFLICT DO NOTHING and rolls back",
		Install: func(ctx context.Context, pool *pgxpool.Pool) error {
			return execute(ctx, pool, "CREATE TABLE lock_wait (id uuid PRIMARY KEY)")
		},
		Clear: "TRUNCATE lock_wait",
		Start: startLockWait,
	}
}

// A lockWaitWorker keeps the waiting connections.
type lockWaitWorker struct {
	pool  *pgxpool.Pool
	ctx   context.Context // of the waits; ended by stop
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// startLockWait opens as many connections as there will be waits.
func startLockWait(ctx context.Context, url string, waiters int) (Worker, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	// A quarter more: a producer begins its next transaction before the last wait has rolled back.
	config.MaxConns = int32(waiters + waiters/4 + 1)
	config.MinConns = config.MaxConns
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	for pool.Stat().TotalConns() < config.MaxConns { // opened in the background
		select {
		case <-ctx.Done():
			pool.Close()
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	run, stop := context.WithCancel(ctx)
	return &lockWaitWorker{pool: pool, ctx: run, stop: stop}, nil
}

// Produce implements Worker.
func (w *lockWaitWorker) Produce(ctx context.Context, tx pgx.Tx, job *Job) error {
	var batch pgx.Batch
	batch.Queue(InsertRow, job.ID)
	key := uuid.New()
	batch.Queue("INSERT INTO lock_wait (id) VALUES ($1)", key)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return err
	}
	w.tasks.Go(func() {
		wait, err := w.pool.Begin(w.ctx)
		if err != nil {
			return // closed; a lost connection shows as jobs that never ran
		}
		defer func() { _ = wait.Rollback(context.WithoutCancel(w.ctx)) }() // closed with the pool if it fails
		tag, err := wait.Exec(w.ctx, "INSERT INTO lock_wait (id) VALUES ($1) ON CONFLICT DO NOTHING", key)
		if err == nil && tag.RowsAffected() == 0 {
			job.Run()
		}
	})
	return nil
}

// Close implements Worker.
func (w *lockWaitWorker) Close() error {
	w.stop()
	w.tasks.Wait()
	w.pool.Close()
	return nil
}
