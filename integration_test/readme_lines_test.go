package integration_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

type readmeMessage struct {
	Headers guard.Map
	Work    string
}

type readmeQueue chan readmeMessage

func (q readmeQueue) Send(_ context.Context, m readmeMessage) error { q <- m; return nil }

// The lines of README.md, between a transaction and a handler.
func TestTheLinesOfTheReadmeShipAnOrderThatWasCommitted(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), migratedDatabase(t)
	execute(t, pool, "CREATE TABLE orders (id int)")
	queue, message := make(readmeQueue, 1), readmeMessage{guard.Map{}, "order 7"}
	g, err := guard.New(run(t, pool, listener.Config{}), guard.Config{Require: true})
	if err != nil {
		t.Fatal(err)
	}
	shipped := 0
	ship := func(m readmeMessage) {
		shipped += query[int](t, pool, "SELECT count(*) FROM orders WHERE id = 7 AND $1 = 'order 7'", m.Work)
	}

	produced := make(chan error, 1)
	go func() {
		err := notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO orders (id) VALUES (7)"); err != nil {
				return err
			}
			if err := notify.Inject(ctx, message.Headers); err != nil { // the barrier of this transaction
				return err
			}
			return queue.Send(ctx, message) // before COMMIT, so that a crash loses nothing
		})
		produced <- err
	}()

	message = <-queue
	switch d := g.Decide(ctx, message.Headers); d.Verdict {
	case guard.Run: // committed, and its updates can be read
		ship(message)
	case guard.Drop: // rolled back
	case guard.Later: // still running: back to the queue, for d.After
	case guard.Reject: // purged, foreign or malformed: d.Err says why
	}
	if err := outcome(t, produced); err != nil || shipped != 1 {
		t.Errorf("shipped %d orders: %v", shipped, err)
	}
}
