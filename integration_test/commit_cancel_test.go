package integration_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// A COMMIT that is cancelled, by an operator, a timeout or its own client, succeeds or fails, and the
// barrier with it: wherever it was hit.
func TestACancelledCommitHasTheOutcomeOfItsBarrier(t *testing.T) {
	t.Parallel()
	pool := open(t, devpg.ForTest(t, devpg.Config{Settings: map[string]string{"fsync": "off", "commit_delay": "1000", "commit_siblings": "0"}}).URL())
	migrate(t, pool)
	execute(t, pool, "CREATE TABLE orders (id integer)")
	var stop atomic.Bool
	var work, nuisance sync.WaitGroup
	var good, bad atomic.Int64
	pids := make(chan uint32, 4)
	for range 4 {
		work.Go(func() {
			conn := connect(t, pool)
			pids <- conn.PgConn().PID()
			for n := 0; !stop.Load(); n++ {
				if conn.IsClosed() {
					t.Error("a cancelled session ended")
					return
				}
				ctx := context.Background()
				var token pgbarrier.Token
				if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
					continue
				}
				if err := conn.QueryRow(ctx, "SELECT pgbarrier.create()").Scan(&token); err != nil {
					_, _ = conn.Exec(ctx, "ROLLBACK")
					continue
				}
				limit := []string{"SET LOCAL statement_timeout = 1", "SET LOCAL statement_timeout = 2", "SELECT 1"}[rand.IntN(3)]
				if _, err := conn.Exec(ctx, limit); err != nil {
					_, _ = conn.Exec(ctx, "ROLLBACK")
					continue
				}
				tag, err := conn.Exec(ctx, "COMMIT")
				expected := pgbarrier.Committed
				if err != nil || tag.String() == "ROLLBACK" {
					bad.Add(1)
					expected = pgbarrier.Aborted
					_, _ = conn.Exec(ctx, "ROLLBACK")
				} else {
					good.Add(1)
				}
				want(t, pool, expected, token)
			}
		})
	}
	nuisance.Go(func() {
		victims := []uint32{<-pids, <-pids, <-pids, <-pids}
		for !stop.Load() {
			execute(t, pool, "SELECT pg_cancel_backend(pid), pg_sleep(0.0005) FROM unnest($1::int[]) pid", victims)
		}
	})
	for began := time.Now(); (good.Load() < 200 || bad.Load() < 3) && time.Since(began) < patience && !t.Failed(); {
		time.Sleep(10 * time.Millisecond)
	}
	stop.Store(true)
	work.Wait()
	nuisance.Wait()
	t.Logf("%d succeeded, %d failed", good.Load(), bad.Load())
	if left := query[int](t, pool, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"); left != 0 {
		t.Errorf("%d locks were left", left)
	}
	heard := listen(t, pool)
	wantHeard(t, pool, heard, committed(t, pool))
}
