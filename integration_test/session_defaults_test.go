package integration_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// A pool for reports, for example. The listener has its own way, see TestTheListenerChecksInReadCommittedWhateverTheDefault.
func TestCheckAndPollWorkWhateverTheSessionsDefaults(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	good, bad, lost := committed(t, pool), aborted(t, pool), lostAtSavepoint(t, pool)
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		for _, readOnly := range []string{"off", "on"} {
			url := withSetting(t, withSetting(t, pool.Config().ConnString(), "default_transaction_isolation", level), "default_transaction_read_only", readOnly)
			unusual := open(t, url, func(c *pgxpool.Config) { c.MaxConns = 1 })
			conn := connect(t, unusual)
			for _, db := range []pgbarrier.DB{unusual, conn} {
				want(t, db, pgbarrier.Committed, good)
				want(t, db, pgbarrier.Aborted, bad, lost)
				if err := pgbarrier.Poll(t.Context(), db, good); err != nil {
					t.Errorf("%s, read-only %s: Poll: %v", level, readOnly, err)
				}
				wantErr(t, "Poll", pgbarrier.Poll(t.Context(), db, bad), pgbarrier.ErrAborted)
				wantErr(t, "AwaitReplica", pgbarrier.AwaitReplica(t.Context(), db, good), nil)

				tx := begin(t, pool)
				token := create(t, tx)
				polled := make(chan error, 1)
				go func() { polled <- pgbarrier.Poll(t.Context(), db, token) }()
				stillWaiting(t, polled)
				commit(t, tx)
				if err := outcome(t, polled); err != nil {
					t.Errorf("%s, read-only %s: Poll: %v", level, readOnly, err)
				}
			}
		}
	}
}

// A check in SERIALIZABLE is a reader between a producer's transactions, and can make one of them fail.
func TestAPollWithSerializableAsDefaultFailsNoProducer(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	serializable := open(t, withSetting(t, pool.Config().ConnString(), "default_transaction_isolation", "serializable"))
	long := committed(t, pool)
	for range 20 {
		tx := begin(t, serializable)
		token := create(t, tx)
		// The committed one's row is looked at, what is pending is not. Locks outlast the check as long as tx is open.
		want(t, serializable, pgbarrier.Pending, token)
		want(t, serializable, pgbarrier.Committed, long)
		if locks := query[int](t, pool, `SELECT count(*) FROM pg_locks
			WHERE mode = 'SIReadLock' AND relation IN ('pgbarrier.barrier'::regclass, 'pgbarrier.barrier_pkey'::regclass)
				AND pid IS DISTINCT FROM $1`, tx.Conn().PgConn().PID()); locks != 0 {
			t.Fatalf("the check has left %d predicate locks", locks)
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
