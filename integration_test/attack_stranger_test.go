package integration_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// Each line of docs/security.md on what a role that can connect, without a grant, can and cannot do is
// tried. security_test.go, privileges_test.go and commit_flood_test.go have the others.

// Advisory locks are of a database, and anybody in it can hold them: in any mode, for any time.
func TestAStrangersAdvisoryLocksSilenceCommitsAndHoldNoneUp(t *testing.T) {
	t.Parallel()
	own := devpg.ForTest(t, devpg.Config{Settings: map[string]string{"fsync": "off"}})
	pool, elsewhere := open(t, own.URL()), open(t, own.DatabaseForTest(t))
	migrate(t, pool)
	l := run(t, pool, listener.Config{})
	heard := listen(t, pool)
	role := newRole(t, pool)
	produce := func(silent bool) {
		t.Helper()
		tx := begin(t, pool)
		execute(t, tx, "SET LOCAL lock_timeout = 1")
		token := create(t, tx)
		sub := pending(t, l, token)
		commit(t, tx)
		wantEnd(t, sub, nil)
		want(t, pool, pgbarrier.Committed, token)
		eventually(t, "the listener's probes are over", func() bool {
			return query[int](t, pool, "SELECT count(*) FROM pg_locks WHERE "+notifyLock) == 0
		})
		found := false
		for _, payload := range hear(t, pool, heard) {
			found = found || payload == token.String()
		}
		if silent && found {
			t.Error("a commit was announced that should not have been")
		} else if !silent && !found {
			t.Log("a commit was not announced") // the listener may have notified just then
		}
	}
	for _, take := range []string{
		"SELECT pg_advisory_lock(" + announcing + ")", "SELECT pg_advisory_lock_shared(" + announcing + ")",
		"BEGIN; SELECT pg_advisory_xact_lock(" + announcing + ")", "BEGIN; SELECT pg_advisory_xact_lock_shared(" + announcing + ")",
		"SELECT pg_advisory_lock(" + placing + ")", "SELECT pg_advisory_lock_shared(" + placing + ")", "BEGIN; SELECT pg_advisory_xact_lock(" + placing + ")",
	} {
		for _, db := range []*pgx.Conn{connect(t, as(t, pool, role)), connect(t, as(t, elsewhere, role))} {
			execute(t, db, take)
			produce(db.Config().Database == pool.Config().ConnConfig.Database)
			_ = db.Close(t.Context())
		}
	}
	// And it is over with his session.
	eventually(t, "a commit is announced again", func() bool {
		token := committed(t, pool)
		for _, payload := range hear(t, pool, heard) {
			if payload == token.String() {
				return true
			}
		}
		return false
	})
}

func TestAStrangerCannotEndOrReadAProducersSession(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	stranger, role := connect(t, as(t, pool, newRole(t, pool))), newRole(t, pool)
	grant(t, pool, "producer", role)
	producer := connect(t, as(t, pool, role))
	tx := begin(t, producer)
	token := create(t, tx)
	execute(t, tx, "SELECT '"+token.String()+"'") // as if it wrote it into a table
	for _, sql := range []string{"SELECT pg_cancel_backend($1)", "SELECT pg_terminate_backend($1)"} {
		_, err := stranger.Exec(t.Context(), sql, producer.PgConn().PID())
		wantDenied(t, sql, err)
	}
	for _, sql := range []string{
		"SELECT coalesce(string_agg(a::text, ' '), '') FROM pg_stat_activity a", "SELECT coalesce(string_agg(l::text, ' '), '') FROM pg_locks l",
		"SELECT coalesce(string_agg(s::text, ' '), '') FROM pg_settings s", "SELECT coalesce(string_agg(p::text, ' '), '') FROM pg_prepared_xacts p",
		"SELECT coalesce(string_agg(s::text, ' '), '') FROM pg_stats s", "SELECT pg_listening_channels()::text UNION ALL SELECT '' LIMIT 1",
	} {
		if text := query[string](t, stranger, sql); strings.Contains(text, token.ID.String()) {
			t.Errorf("%s shows a token that has not committed", sql)
		}
	}
	for _, sql := range []string{
		"SELECT pg_get_viewdef('pgbarrier.horizon'::regclass)", "SELECT FROM pgbarrier.horizon", "SELECT FROM pgbarrier.here", "CREATE VIEW v AS SELECT FROM pgbarrier.barrier",
		"CREATE TABLE t (id uuid REFERENCES pgbarrier.barrier)", "CREATE TABLE t () INHERITS (pgbarrier.barrier)", "COMMENT ON TABLE pgbarrier.barrier IS ''", "ANALYZE pgbarrier.barrier",
		"CREATE TRIGGER t AFTER INSERT ON pgbarrier.barrier EXECUTE FUNCTION pgbarrier.lost()", "CREATE RULE r AS ON INSERT TO pgbarrier.barrier DO NOTHING",
		"CREATE INDEX ON pgbarrier.barrier (xid)", "REINDEX TABLE pgbarrier.barrier", "CREATE STATISTICS s ON id, xid FROM pgbarrier.barrier", "CREATE PUBLICATION p FOR TABLE pgbarrier.barrier",
		"ALTER FUNCTION pgbarrier.create(boolean) RESET ALL", "GRANT SELECT ON pgbarrier.barrier TO CURRENT_USER", "ALTER SCHEMA pgbarrier RENAME TO mine", "SELECT lo_import('/etc/passwd')",
		"SELECT pgbarrier.create()", "SELECT pgbarrier.status('')", "SELECT pgbarrier.wait('')", "SELECT pgbarrier.check('{}'::text[])", "SELECT pgbarrier.version()", "SELECT pgbarrier.purge('1 day')",
	} {
		_, err := stranger.Exec(t.Context(), sql)
		if err == nil && !strings.HasPrefix(sql, "ANALYZE") { // which only warns
			t.Errorf("a stranger may: %s", sql)
		}
	}
	commit(t, tx)
	want(t, pool, pgbarrier.Committed, token)
}

// To look whether a NOTIFY is held up means to read the table of locks. It has as many as the server has
// room for, and a stranger can fill it. It would also give him time to get a NOTIFY in after the look, so
// beside very many locks nothing is announced.
func TestAFullTableOfLocksHoldsNoCommitUpForLong(t *testing.T) {
	t.Parallel()
	pool := open(t, devpg.ForTest(t, devpg.Config{Settings: map[string]string{"fsync": "off", "max_locks_per_transaction": "1024"}}).URL())
	migrate(t, pool)
	stranger := connect(t, as(t, pool, newRole(t, pool)))
	// Nearly all: the others shall have room to commit.
	fillLocks(t, stranger)
	execute(t, stranger, "SELECT pg_advisory_unlock(1, i) FROM generate_series(0, 2000) i")
	locks := query[int](t, pool, "SELECT count(*) FROM pg_locks")
	heard := listen(t, pool)
	var longest time.Duration
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		tx := begin(t, pool)
		token := create(t, tx)
		began := time.Now()
		if err := tx.Commit(ctx); err != nil {
			t.Error(err)
		}
		longest = max(longest, time.Since(began))
		cancel()
		want(t, pool, pgbarrier.Committed, token)
	}
	wantHeard(t, pool, heard)
	execute(t, stranger, "SELECT pg_advisory_unlock_all()")
	execute(t, stranger, "SELECT pg_advisory_lock(1, i) FROM generate_series(1, 1000) i")
	wantHeard(t, pool, heard, committed(t, pool))
	t.Logf("with %d locks the longest COMMIT took %v", locks, longest)
}
