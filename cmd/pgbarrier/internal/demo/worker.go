package demo

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// workersAtOnce is how many messages are handled at one time. A waiting one holds no connection.
const workersAtOnce = 64

// A worker handles the messages of a queue.
type worker struct {
	approach string
	pool     *pgxpool.Pool
	// wait is the listener's Wait, or nil without a barrier.
	wait func(ctx context.Context, tokens ...pgbarrier.Token) error
}

// run handles messages until the queue is closed and empty. It returns the first error.
func (w *worker) run(ctx context.Context, q queue) error {
	var handlers sync.WaitGroup
	var once sync.Once
	var failure error
	for range workersAtOnce {
		handlers.Go(func() {
			for m := range q {
				if err := w.handle(ctx, m); err != nil {
					once.Do(func() { failure = err })
				}
			}
		})
	}
	handlers.Wait()
	return failure
}

func (w *worker) handle(ctx context.Context, m Message) error {
	if w.wait != nil {
		if err := w.wait(ctx, m.Barrier); err != nil {
			return w.drop(ctx, m, err)
		}
	}
	began := time.Now()
	// What the work would be; here it only looks for the order, and leaves a trace of what it saw.
	_, err := w.pool.Exec(ctx, `
		INSERT INTO pgbarrier_demo.runs
		VALUES ($1, $2, $3, EXISTS (SELECT FROM pgbarrier_demo.orders WHERE approach = $1 AND request = $2))`,
		w.approach, m.Request, began)
	return err
}

// drop gives a message up. Only an aborted transaction is a good reason; others are counted as wrong.
func (w *worker) drop(ctx context.Context, m Message, reason error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := reason.Error()
	if errors.Is(reason, pgbarrier.ErrAborted) {
		text = "aborted"
	}
	_, err := w.pool.Exec(ctx, "INSERT INTO pgbarrier_demo.drops VALUES ($1, $2, $3)", w.approach, m.Request, text)
	return err
}
