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
		Name:              NameLockWait,
		About:             "a connection per wait inserts the same key ON CONFLICT DO NOTHING and rolls back",
		ConnectionPerWait: true,
		Install: func(ctx context.Context, pool *pgxpool.Pool) error {
			return execute(ctx, pool, "CREATE TABLE lock_wait (id uuid PRIMARY KEY)")
		},
		Clear: "TRUNCATE lock_wait",
		Start: func(ctx context.Context, url string, waiters int) (Worker, error) {
			return StartLockWait(ctx, url, waiters)
		},
	}
}

// A LockWaitWorker keeps the waiting connections.
type LockWaitWorker struct {
	pool  *pgxpool.Pool
	ctx   context.Context // of the waits; ended by stop
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// StartLockWait opens as many connections as there will be waits.
func StartLockWait(ctx context.Context, url string, waiters int) (*LockWaitWorker, error) {
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
	return &LockWaitWorker{pool: pool, ctx: run, stop: stop}, nil
}

// Produce implements Worker.
func (w *LockWaitWorker) Produce(ctx context.Context, tx pgx.Tx, job *Job) error {
	var batch pgx.Batch
	batch.Queue(InsertRow, job.ID)
	key := w.QueueKey(&batch)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return err
	}
	w.Await(key, func(committed bool) {
		if committed {
			job.Run()
		}
	})
	return nil
}

// QueueKey queues the insert of a new key and returns it.
func (w *LockWaitWorker) QueueKey(batch *pgx.Batch) uuid.UUID {
	key := uuid.New()
	batch.Queue("INSERT INTO lock_wait (id) VALUES ($1)", key)
	return key
}

// Await calls ended when the transaction that inserted the key has ended, unless the worker is closed first.
func (w *LockWaitWorker) Await(key uuid.UUID, ended func(committed bool)) {
	w.tasks.Go(func() {
		tx, err := w.pool.Begin(w.ctx)
		if err != nil {
			return // closed; a lost connection shows as jobs that never ran
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(w.ctx)) }() // closed with the pool if it fails
		tag, err := tx.Exec(w.ctx, "INSERT INTO lock_wait (id) VALUES ($1) ON CONFLICT DO NOTHING", key)
		if err == nil {
			ended(tag.RowsAffected() == 0)
		}
	})
}

// Close implements Worker.
func (w *LockWaitWorker) Close() error {
	w.stop()
	w.tasks.Wait()
	w.pool.Close()
	return nil
}
