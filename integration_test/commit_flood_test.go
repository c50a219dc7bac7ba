package integration_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// A stranger without a grant, in another database, is in PostgreSQL's only turn to NOTIFY most of the
// time, for seconds each time.
func TestAFloodOfAStrangersNotificationsFailsNoCommit(t *testing.T) {
	t.Parallel()
	own := devpg.ForTest(t, devpg.Config{Settings: map[string]string{"fsync": "off"}})
	pool, elsewhere := open(t, own.URL()), open(t, own.DatabaseForTest(t))
	migrate(t, pool)
	execute(t, pool, "CREATE TABLE orders (id integer)")
	heard := listen(t, pool)
	var hearing sync.WaitGroup
	hearing.Go(func() { // somebody has to empty the queue
		for {
			if _, err := heard.WaitForNotification(t.Context()); err != nil {
				return
			}
		}
	})
	t.Cleanup(hearing.Wait) // the test's context ends before
	stranger := connect(t, as(t, elsewhere, newRole(t, elsewhere)))

	var stop atomic.Bool
	var flood, producers sync.WaitGroup
	var floods, commits atomic.Int64
	flood.Go(func() {
		defer stop.Store(true)
		for _, size := range []int{60_000, 1_000, 1, 10_000, 1_000} {
			_, err := stranger.Exec(t.Context(), "SELECT count(pg_notify('flood', concat(i, repeat('x', 7900)))) FROM generate_series(1, $1) i", size)
			if err != nil {
				t.Error(err)
				return
			}
			floods.Add(1)
		}
	})
	for i := range 4 {
		producers.Go(func() {
			conn := connect(t, pool)
			for turn := i; !stop.Load(); turn++ {
				setting := impatience()[turn%len(impatience())]
				token, err := place(t.Context(), conn, setting)
				if err != nil {
					t.Errorf("with %s: COMMIT: %v", setting, err)
					return
				}
				commits.Add(1)
				if turn%50 == 0 {
					want(t, pool, pgbarrier.Committed, token)
				}
			}
		})
	}
	flood.Wait()
	producers.Wait()
	t.Logf("%d floods, %d commits", floods.Load(), commits.Load())
	if commits.Load() == 0 {
		t.Error("nothing was committed meanwhile")
	}
}

// place commits an order with a barrier. Its error is COMMIT's.
func place(ctx context.Context, conn *pgx.Conn, setting string) (token pgbarrier.Token, err error) {
	if _, err := conn.Exec(ctx, "BEGIN; INSERT INTO orders VALUES (1)"); err != nil {
		return token, fmt.Errorf("before: %w", err)
	}
	if err := conn.QueryRow(ctx, "SELECT pgbarrier.create()").Scan(&token); err != nil {
		return token, fmt.Errorf("before: %w", err)
	}
	if _, err := conn.Exec(ctx, "SET LOCAL "+setting); err != nil {
		return token, fmt.Errorf("before: %w", err)
	}
	began := time.Now()
	if _, err = conn.Exec(ctx, "COMMIT"); err != nil {
		err = fmt.Errorf("after %v: %w", time.Since(began), err)
	}
	return token, err
}
