package contender

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

func pgbarrierContender() Contender {
	return Contender{
		Name:    NamePgbarrier,
		About:   "this repository; zero listener.Config; notify.Queue in the batch of the insert",
		Install: migrate,
		Clear:   clearBarriers,
		Start: func(ctx context.Context, url string, _ int) (Worker, error) {
			return StartListener(ctx, url, listener.Config{})
		},
	}
}

const clearBarriers = "TRUNCATE pgbarrier.barrier"

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	return pgbarrier.Migrate(ctx, pool)
}

// A ListenerWorker is a listener that runs, and the goroutines that wait with it.
type ListenerWorker struct {
	*listener.Listener
	pool  *pgxpool.Pool
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// StartListener starts a listener and returns when it hears.
func StartListener(ctx context.Context, url string, config listener.Config) (*ListenerWorker, error) {
	// Only tells the listener how to connect.
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	l, err := listener.New(pool, config)
	if err != nil {
		pool.Close()
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	w := &ListenerWorker{Listener: l, pool: pool, stop: stop}
	ended := make(chan error, 1)
	w.tasks.Go(func() { ended <- l.Run(run) })
	select {
	case <-l.Ready():
		return w, nil
	case err := <-ended:
		_ = w.Close() // err says it
		return nil, err
	}
}

// Produce implements Worker.
func (w *ListenerWorker) Produce(ctx context.Context, tx pgx.Tx, job *Job) error {
	var (
		batch pgx.Batch
		token pgbarrier.Token
	)
	batch.Queue(InsertRow, job.ID)
	notify.Queue(&batch, &token)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return err
	}
	sub := w.Subscribe(token)
	w.tasks.Go(func() {
		<-sub.Done()
		if sub.Err() == nil {
			job.Run()
		}
	})
	return nil
}

// Go runs f in a goroutine that Close waits for: f has to end when its waits do.
func (w *ListenerWorker) Go(f func()) { w.tasks.Go(f) }

// Close implements Worker.
func (w *ListenerWorker) Close() error {
	w.stop() // Run ends every wait
	w.tasks.Wait()
	w.pool.Close()
	return nil
}

func poolOf(ctx context.Context, url string, conns int32) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = conns
	return pgxpool.NewWithConfig(ctx, config)
}
