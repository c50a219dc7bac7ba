package contender

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// listenContender is what most people write, and the floor of latency: the application's table has a
// trigger that notifies, and one connection listens.
func listenContender() Contender {
	return Contender{
		Name:  NameListen,
		About: "row trigger with pg_notify, one connection in a pgx WaitForNotification loop",
		Install: func(ctx context.Context, pool *pgxpool.Pool) error {
			return execute(ctx, pool,
				`CREATE FUNCTION app_notify() RETURNS trigger LANGUAGE plpgsql
					AS $$ BEGIN PERFORM pg_notify('app', NEW.id::text); RETURN NULL; END $$`,
				`CREATE TRIGGER app_notify AFTER INSERT ON app FOR EACH ROW EXECUTE FUNCTION app_notify()`)
		},
		Start: func(ctx context.Context, url string, _ int) (Worker, error) { return Listen(ctx, url, "app") },
	}
}

type listenWorker struct {
	conn    *pgx.Conn
	waiting *waiting
	stop    context.CancelFunc
	tasks   sync.WaitGroup
}

// Listen starts a session that listens on a channel, whose payloads are ids of rows.
func Listen(ctx context.Context, url, channel string) (Worker, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		closeConn(conn)
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	w := &listenWorker{conn: conn, waiting: newWaiting(), stop: stop}
	w.tasks.Go(func() {
		for {
			n, err := conn.WaitForNotification(run)
			if err != nil {
				return // closed; a lost connection shows as jobs that never ran
			}
			if id, err := strconv.ParseInt(n.Payload, 10, 64); err == nil {
				w.waiting.wake(id)
			}
		}
	})
	return w, nil
}

// Produce implements Worker. The trigger does the rest.
func (w *listenWorker) Produce(ctx context.Context, tx pgx.Tx, job *Job) error {
	w.waiting.add(job)
	_, err := tx.Exec(ctx, InsertRow, job.ID)
	return err
}

// Close implements Worker.
func (w *listenWorker) Close() error {
	w.stop()
	w.tasks.Wait()
	w.waiting.close()
	closeConn(w.conn)
	return nil
}

// closeConn closes a connection whose context may have ended.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nothing is lost with it
}
