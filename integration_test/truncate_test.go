package integration_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// A cleaner between tests, for example, truncates every table. That is a purge of everything.
func TestATruncatedBarrierIsExpiredAndNeverAFalseAbort(t *testing.T) {
	t.Parallel()
	for _, options := range []pgx.TxOptions{readCommitted, repeatableRead} {
		pool := migratedDatabase(t)
		l := run(t, pool, listener.Config{})
		good, lost := committed(t, pool), lostAtSavepoint(t, pool)
		cleaner := begin(t, pool, options)
		query[int](t, cleaner, "SELECT count(*) FROM pgbarrier.barrier") // takes the snapshot
		newer := committed(t, pool)
		execute(t, cleaner, "TRUNCATE pgbarrier.barrier")
		commit(t, cleaner)
		want(t, pool, pgbarrier.Expired, good, lost, newer)
		wantErr(t, "Poll", pgbarrier.Poll(t.Context(), pool, newer), pgbarrier.ErrExpired)
		wait(t, l, pgbarrier.ErrExpired, lost)

		tx := begin(t, pool)
		running := create(t, tx)
		sub := pending(t, l, running)
		want(t, pool, pgbarrier.Pending, running)
		want(t, pool, pgbarrier.Aborted, aborted(t, pool), lostAtSavepoint(t, pool))
		commit(t, tx)
		wantEnd(t, sub, nil)
		want(t, pool, pgbarrier.Committed, running)
	}
}
