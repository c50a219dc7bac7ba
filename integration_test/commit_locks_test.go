package integration_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// fillLocks has a session take advisory locks until the server's table of locks is full.
func fillLocks(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	_, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock(1, i) FROM generate_series(0, 1000000) i")
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "53200" {
		t.Fatalf("the table of locks does not fill: %v", err)
	}
}

// A producer that has all the locks it needs commits, whether or not there is a place for those of
// announcing: none, one for its advisory lock, one more for NOTIFY's.
func TestAFullTableOfLocksFailsNoCommit(t *testing.T) {
	t.Parallel()
	own := devpg.ForTest(t, devpg.Config{Settings: map[string]string{"fsync": "off", "max_locks_per_transaction": "10", "max_connections": "20"}})
	pool := open(t, own.URL())
	migrate(t, pool)
	stranger := connect(t, as(t, pool, newRole(t, pool)))
	producer, heard := connect(t, pool), listen(t, pool)
	committed(t, producer) // what is looked up for the first time needs locks as well
	for free := range 6 {
		execute(t, stranger, "SELECT pg_advisory_unlock_all()")
		for range 3 {
			tx := begin(t, producer)
			token := create(t, tx)
			second := create(t, tx)
			fillLocks(t, stranger)
			for i := range free {
				execute(t, stranger, "SELECT pg_advisory_unlock(1, $1)", i)
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Errorf("with %d places: COMMIT: %v", free, err)
			}
			execute(t, stranger, "SELECT pg_advisory_unlock_all()")
			want(t, pool, pgbarrier.Committed, token, second)
			t.Logf("with %d places %d of 2 barriers were announced", free, len(hear(t, pool, heard)))
			if left := query[int](t, pool, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"); left != 0 {
				t.Errorf("with %d places %d locks were left", free, left)
			}
		}
	}
}
