package demo

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// workersAtOnce is how many messages are handled at one time. A waiting one holds no connection.
const workersAtOnce = 64

// lookEvery is how often an approach that draws to its end looks whether the queue is empty.
const lookEvery = 20 * time.Millisecond

// A worker handles the messages of a queue.
type worker struct {
	approach string
	pool     *pgxpool.Pool
	fail     context.CancelCauseFunc // ends the work with an error
}

// run handles messages until produced is closed and the queue is empty. It returns the first error.
func (w *worker) run(ctx context.Context, q queue, waiter guard.Waiter, produced <-chan struct{}) error {
	ctx, w.fail = context.WithCancelCause(ctx)
	defer w.fail(nil)
	g, err := guard.New(waiter, guard.Config{Slots: workersAtOnce / 2, Observe: w.observe})
	if err != nil {
		return err
	}
	for {
		if err := w.consume(ctx, q, g, produced); err != nil {
			return err
		}
		// Now that nobody has any, it is known whether a message is left.
		if empty, err := q.isEmpty(ctx); empty || err != nil {
			return err
		}
	}
}

// consume handles messages until produced is closed and there seem to be none left.
func (w *worker) consume(ctx context.Context, q queue, g *guard.Guard, produced <-chan struct{}) error {
	consuming, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- q.consume(consuming, g, w.handle) }()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return errors.Join(errors.New("the consumer of the queue has ended"), err)
		case <-look.C:
		}
		select {
		case <-produced:
		default:
			continue
		}
		empty, err := q.isEmpty(ctx)
		if empty || err != nil {
			stop()
			return errors.Join(err, <-ended)
		}
	}
}

func (w *worker) handle(ctx context.Context, request int) error {
	began := time.Now()
	// What the work would be; here it only looks for the order, and leaves a trace of what it saw.
	_, err := w.pool.Exec(ctx, `
		INSERT INTO pgbarrier_demo.runs
		VALUES ($1, $2, $3, EXISTS (SELECT FROM pgbarrier_demo.orders WHERE approach = $1 AND request = $2))`,
		w.approach, request, began)
	if err != nil {
		w.fail(err)
	}
	return err
}

// observe records messages that are given up. Only an aborted transaction is a good reason; others are counted as wrong.
func (w *worker) observe(ctx context.Context, d guard.Decision) {
	if d.Verdict != guard.Drop && d.Verdict != guard.Reject {
		return
	}
	reason := d.Err.Error()
	if errors.Is(d.Err, pgbarrier.ErrAborted) {
		reason = "aborted"
	}
	var barrier uuid.NullUUID
	if len(d.Tokens) > 0 {
		barrier = uuid.NullUUID{UUID: d.Tokens[0].ID, Valid: true}
	}
	_, err := w.pool.Exec(context.WithoutCancel(ctx), "INSERT INTO pgbarrier_demo.drops VALUES ($1, $2, $3)", w.approach, barrier, reason)
	if err != nil {
		w.fail(err)
	}
}
