package integration_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
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

// A statement in SERIALIZABLE is a reader between producers' transactions, and can make one of them fail. What it
// has read is locked until every transaction beside it has ended: here, the producer's.
func TestNothingThatStandsAloneReadsInSerializable(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	url := withSetting(t, pool.Config().ConnString(), "default_transaction_isolation", "serializable")
	producer := open(t, url, func(c *pgxpool.Config) { c.MaxConns = 1 }) // so that its own locks are known by its pid
	simple := open(t, url, func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
	long := committed(t, pool)
	for name, db := range map[string]pgbarrier.DB{"pool": open(t, url), "connection": connect(t, open(t, url)), "simple protocol": simple} {
		for what, do := range map[string]func() error{
			"Check":        func() error { _, err := pgbarrier.Check(t.Context(), db, long); return err },
			"Poll":         func() error { return pgbarrier.Poll(t.Context(), db, long) },
			"AwaitReplica": func() error { return pgbarrier.AwaitReplica(t.Context(), db, long) },
			"CheckSchema":  func() error { return pgbarrier.CheckSchema(t.Context(), db) },
			"Purge":        func() error { _, err := pgbarrier.Purge(t.Context(), db, time.Hour); return err },
		} {
			tx := begin(t, producer)
			create(t, tx)
			if err := do(); err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			locks := query[int](t, pool, `SELECT count(*) FROM pg_locks
				WHERE mode = 'SIReadLock' AND relation IN ('pgbarrier.barrier'::regclass, 'pgbarrier.barrier_pkey'::regclass)
					AND pid IS DISTINCT FROM $1`, tx.Conn().PgConn().PID())
			if locks != 0 {
				t.Errorf("%s, %s: %d predicate locks are left", name, what, locks)
			}
			commit(t, tx)
		}
	}
}

func TestAPurgeInSerializableIsRefused(t *testing.T) {
	t.Parallel()
	tx := begin(t, migratedDatabase(t), serializable)
	if _, err := tx.Exec(t.Context(), "SELECT pgbarrier.purge('1 hour')"); wire.SQLState(err) != wire.InvalidTransactionState {
		t.Errorf("purge: %v", err)
	}
}
