package contender

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pollContender asks for the rows until they are there: all rows that are waited for in one query,
// which is kinder to the server than a query for each.
func pollContender() Contender {
	return Contender{
		Name:    NamePoll,
		About:   "one query for all rows that are waited for, every 10 ms",
		Period:  pollPeriod,
		Install: func(context.Context, *pgxpool.Pool) error { return nil },
		Start: func(ctx context.Context, url string, _ int) (Worker, error) {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return nil, err
			}
			run, stop := context.WithCancel(ctx)
			w := &pollWorker{conn: conn, waiting: newWaiting(), stop: stop}
			w.tasks.Go(func() { w.run(run) })
			return w, nil
		},
	}
}

// pollPeriod is that of everything that polls.
const pollPeriod = 10 * time.Millisecond

type pollWorker struct {
	conn    *pgx.Conn
	waiting *waiting
	stop    context.CancelFunc
	tasks   sync.WaitGroup
}

func (w *pollWorker) run(ctx context.Context) {
	tick := time.NewTicker(pollPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ids := w.waiting.ids()
		if len(ids) == 0 {
			continue
		}
		rows, err := w.conn.Query(ctx, "SELECT id FROM app WHERE id = ANY($1)", ids)
		if err != nil {
			return // closed; a lost connection shows as jobs that never ran
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return
		}
		for _, id := range found {
			w.waiting.wake(id)
		}
	}
}

// Produce implements Worker.
func (w *pollWorker) Produce(ctx context.Context, tx pgx.Tx, job *Job) error {
	w.waiting.add(job)
	_, err := tx.Exec(ctx, InsertRow, job.ID)
	return err
}

// Close implements Worker.
func (w *pollWorker) Close() error {
	w.stop()
	w.tasks.Wait()
	w.waiting.close()
	closeConn(w.conn)
	return nil
}
