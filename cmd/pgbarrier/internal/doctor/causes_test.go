package doctor

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// A cause brings a finding about, on a real server. Before that all is well.
type cause struct {
	finding string
	level   Level
	says    []string
	before  func(t *testing.T, w *ward)
	bring   func(t *testing.T, w *ward)
}

// sql is what a superuser does, in place of %s to the database of the test.
func sql(statements ...string) func(t *testing.T, w *ward) {
	return func(t *testing.T, w *ward) {
		for _, s := range statements {
			w.do(t, strings.ReplaceAll(s, "%s", w.db))
		}
	}
}

// limit is a cause of which there is enough on any server, for a lower limit.
func limit(name string, value any, more ...func(t *testing.T, w *ward)) func(t *testing.T, w *ward) {
	return func(t *testing.T, w *ward) {
		w.limits = pgx.NamedArgs{name: value}
		for _, f := range more {
			f(t, w)
		}
	}
}

// idle leaves a session with statements behind, until the test ends.
func idle(statements ...string) func(t *testing.T, w *ward) {
	return func(t *testing.T, w *ward) { execute(t, w.connect(t), statements...) }
}

var causes = []cause{
	{finding: "standby", level: Fail, says: []string{"standby"}, bring: func(t *testing.T, w *ward) {
		standby, err := server.Standby(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = standby.Close() })
		w.url = standby.URL()
	}},
	{finding: "pooler", level: Warn, says: []string{"PgBouncer 1.", "transaction mode"}, bring: throughPgBouncer},
	{finding: "clock", level: Warn, says: []string{"ahead of the local one"}, bring: func(t *testing.T, w *ward) {
		w.now = func() time.Time { return time.Now().Add(-time.Minute) }
	}},

	{finding: "schema", level: Fail, says: []string{"it lacks function status"}, bring: sql("DROP FUNCTION pgbarrier.status(text)")},
	{finding: "schema", level: Fail, says: []string{"pgbarrier migrate"}, bring: sql("DROP SCHEMA pgbarrier CASCADE")},
	{finding: "schema", level: Fail, says: []string{"the database has version 3"}, bring: sql("CREATE OR REPLACE FUNCTION pgbarrier.version() RETURNS integer LANGUAGE sql AS 'SELECT 3'")},
	{finding: "revision", level: Warn, says: []string{"revision 0123456789ab is installed"}, bring: func(t *testing.T, w *ward) {
		w.do(t, strings.ReplaceAll(pgbarrier.SQL, ownRevision, "0123456789ab"))
	}},
	{finding: "revision", level: Warn, says: []string{"comment"}, bring: sql("COMMENT ON SCHEMA pgbarrier IS NULL")},
	{finding: "drift", level: Fail, says: []string{"function pgbarrier.status(text) was changed"},
		bring: sql("CREATE OR REPLACE FUNCTION pgbarrier.status(token text) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT 'committed' $$")},
	{finding: "drift", level: Fail, says: []string{"something else"}, bring: sql("ALTER FUNCTION pgbarrier.status(text) SECURITY INVOKER")},
	{finding: "drift", level: Fail, says: []string{"something else"}, bring: sql("CREATE INDEX ON pgbarrier.barrier (xid)")},
	{finding: "drift", level: Warn, says: []string{"not known"}, bring: sql("COMMENT ON SCHEMA pgbarrier IS 'ours'")},
	{finding: "triggers", level: Fail, says: []string{"trigger announce of pgbarrier.barrier is missing"}, bring: sql("DROP TRIGGER announce ON pgbarrier.barrier")},
	{finding: "triggers", level: Fail, says: []string{"trigger announce of pgbarrier.barrier is disabled"}, bring: sql("ALTER TABLE pgbarrier.barrier DISABLE TRIGGER announce")},
	{finding: "triggers", level: Fail, says: []string{"trigger lost_table of pgbarrier.barrier is enabled in another way"}, bring: sql("ALTER TABLE pgbarrier.barrier ENABLE TRIGGER ALL")},
	{finding: "triggers", level: Fail, says: []string{"trigger audit of pgbarrier.barrier is a stranger's"}, bring: sql(
		"CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
		"CREATE TRIGGER audit AFTER INSERT ON pgbarrier.barrier FOR EACH ROW EXECUTE FUNCTION audit()")},
	{finding: "triggers", level: Fail, says: []string{"rule lose of pgbarrier.barrier is a stranger's"}, bring: sql("CREATE RULE lose AS ON INSERT TO pgbarrier.barrier DO INSTEAD NOTHING")},
	{finding: "row-security", level: Fail, says: []string{"forced for pgbarrier.barrier"}, bring: sql("ALTER TABLE pgbarrier.barrier ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")},
	{finding: "row-security", level: Warn, says: []string{"on for pgbarrier.origin"}, bring: sql("ALTER TABLE pgbarrier.origin ENABLE ROW LEVEL SECURITY")},
	{finding: "owner", level: Fail, says: []string{"function pgbarrier.version() belongs to role role_of_"}, bring: func(t *testing.T, w *ward) {
		w.do(t, "ALTER FUNCTION pgbarrier.version() OWNER TO "+w.newRole(t))
	}},
	{finding: "mark", level: Fail, says: []string{"no mark"}, bring: sql("ALTER TABLE pgbarrier.barrier DISABLE TRIGGER ALL", "DELETE FROM pgbarrier.barrier")},
	{finding: "check", level: Fail, says: []string{"has no origin"}, bring: sql("ALTER TABLE pgbarrier.origin DISABLE TRIGGER ALL", "DELETE FROM pgbarrier.origin")},
	{finding: "check", level: Warn, says: []string{"a check of nothing took"}, bring: sql(
		"ALTER FUNCTION pgbarrier.check(uuid[], xid8[]) RENAME TO slow",
		`CREATE FUNCTION pgbarrier.check(ids uuid[], xids xid8[], OUT version integer, OUT origin text, OUT snapshot text, OUT outcomes text) LANGUAGE plpgsql AS $$
			BEGIN PERFORM pg_sleep(0.3); SELECT s.* INTO version, origin, snapshot, outcomes FROM pgbarrier.slow(ids, xids) s; END $$`)},
	{finding: "publications", level: Fail, says: []string{"pgbarrier.barrier is in publication everything"}, bring: sql(
		"CREATE PUBLICATION everything FOR ALL TABLES", "ALTER TABLE pgbarrier.barrier REPLICA IDENTITY NOTHING")},

	{finding: "grants", level: Fail, says: []string{"lacks USAGE"}, before: worker, bring: func(t *testing.T, w *ward) {
		w.do(t, "REVOKE USAGE ON SCHEMA pgbarrier FROM "+w.role)
	}},
	{finding: "grants", level: Fail, says: []string{"one of the two grants"}, before: worker, bring: func(t *testing.T, w *ward) {
		w.do(t, "REVOKE EXECUTE ON FUNCTION pgbarrier.version() FROM "+w.role)
	}},
	{finding: "grants", level: Fail, says: []string{"neither"}, before: worker, bring: func(t *testing.T, w *ward) {
		w.do(t, "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA pgbarrier FROM "+w.role)
	}},
	{finding: "owner-grants", level: Warn, says: []string{"may not execute pg_notify(text,text), which announce needs"}, before: owned,
		bring: sql("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_notify(text, text) FROM PUBLIC")},
	{finding: "owner-grants", level: Fail, says: []string{"may not execute pg_xact_status(xid8), which check, never_assigned, proof needs"}, before: owned,
		bring: sql("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_xact_status(xid8) FROM PUBLIC")},
	{finding: "owner-grants", level: Fail, says: []string{"gen_random_uuid()"}, before: owned, bring: sql("REVOKE EXECUTE ON FUNCTION pg_catalog.gen_random_uuid() FROM PUBLIC")},
	{finding: "listener-grants", level: Warn, says: []string{"may not execute pg_notify(text,text)", "LISTEN"}, before: worker,
		bring: sql("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_notify(text, text) FROM PUBLIC")},
	{finding: "listener-grants", level: Warn, says: []string{"pg_try_advisory_xact_lock_shared(bigint)", "pg_lock_status()", "pg_stat_get_backend_idset()"}, before: worker,
		bring: sql("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(bigint), pg_catalog.pg_lock_status(), pg_catalog.pg_stat_get_backend_idset() FROM PUBLIC")},

	{finding: "announce", level: Warn, says: []string{"off for all roles, in this database", "off in the session"}, bring: sql("ALTER DATABASE %s SET pgbarrier.announce = off")},
	{finding: "announce", level: Warn, says: []string{"off for role role_of_"}, bring: func(t *testing.T, w *ward) {
		w.do(t, "ALTER ROLE "+w.newRole(t)+" SET pgbarrier.announce = off")
	}},
	{finding: "role-settings", level: Fail, says: []string{"default_transaction_read_only is on"}, bring: sql("ALTER DATABASE %s SET default_transaction_read_only = on")},
	{finding: "role-settings", level: Warn, says: []string{"session_replication_role is replica"}, bring: sql("ALTER DATABASE %s SET session_replication_role = replica")},
	{finding: "role-settings", level: Warn, says: []string{"default_transaction_isolation is serializable"}, bring: sql("ALTER DATABASE %s SET default_transaction_isolation = serializable")},
	{finding: "role-settings", level: Warn, says: []string{"statement_timeout is 14000ms", "lock_timeout is 500ms"},
		bring: sql("ALTER DATABASE %s SET statement_timeout = '14s'", "ALTER DATABASE %s SET lock_timeout = '500ms'")},
	{finding: "durability", level: Warn, says: []string{"synchronous_commit is off"}, bring: sql("ALTER DATABASE %s SET synchronous_commit = off")},
	{finding: "synchronous-standby", level: Fail, says: []string{"'nobody'"}, bring: asksForAStandby},
	{finding: "autovacuum", level: Warn, says: []string{"pgbarrier.barrier has autovacuum_enabled=false"}, bring: sql("ALTER TABLE pgbarrier.barrier SET (autovacuum_enabled = false)")},

	{finding: "notify-queue", level: Warn, says: []string{"% full: pid ", "idle in transaction"}, bring: func(t *testing.T, w *ward) {
		idle("LISTEN anything", "BEGIN", "SELECT 1")(t, w)
		if server.Major() < 17 { // 8 GB
			w.limits = pgx.NamedArgs{"queue": 1e-9}
		}
		for range 10 {
			w.do(t, "SELECT pg_notify('filler', repeat('x', 7900))")
		}
	}},
	// Half of 8 GB takes long.
	{finding: "notify-queue", level: Fail, says: []string{"50 % full, so that nothing is announced"},
		bring: sql("CREATE OR REPLACE FUNCTION pg_catalog.pg_notification_queue_usage() RETURNS double precision LANGUAGE sql VOLATILE AS 'SELECT 0.5::double precision'")},
	{finding: "notify-lock", level: Warn, says: []string{"database ", "waits for SyncRep", "while 1 wait for it"}, bring: holdsNotify},
	{finding: "listen", level: Warn, says: []string{"did not return"}, bring: holdsNotify},
	{finding: "listen", level: Warn, says: []string{"nothing was heard", "PgBouncer 1."}, bring: throughPgBouncer},
	{finding: "announcing-lock", level: Warn, says: []string{"ExclusiveLock of advisory lock 7018962344107663491: pid "}, bring: idle("SELECT pg_advisory_lock(7018962344107663491)")},
	{finding: "announcing-lock", level: Warn, says: []string{"ShareLock of advisory lock 7018962344107663491: pid "}, bring: idle("SELECT pg_advisory_lock_shared(7018962344107663491)")},
	{finding: "announcing-lock", level: Warn, says: []string{"ShareLock of advisory lock 7018962344107663490: pid "}, bring: idle("BEGIN", "SELECT pg_advisory_xact_lock_shared(7018962344107663490)")},
	{finding: "locks", level: Warn, says: []string{"locks, of 2000"}, bring: idle("SELECT pg_advisory_lock(i) FROM generate_series(1, 2000) AS i")},

	{finding: "future-ids", level: Warn, says: []string{"the latest barrier is of "}, bring: createdAt(time.Hour)},
	{finding: "size", level: Warn, says: []string{"kB"}, bring: limit("size", int64(100_000), sql("INSERT INTO pgbarrier.barrier SELECT gen_random_uuid() FROM generate_series(1, 2000)"))},
	{finding: "dead-rows", level: Warn, says: []string{"dead"}, bring: limit("dead", int64(500), func(t *testing.T, w *ward) {
		conn := w.connect(t)
		execute(t, conn, "ALTER TABLE pgbarrier.barrier SET (autovacuum_enabled = false)", "INSERT INTO pgbarrier.barrier SELECT gen_random_uuid() FROM generate_series(1, 1000)",
			"DELETE FROM pgbarrier.barrier WHERE id > '00000001-0000-0000-0000-000000000000'")
		end(conn) // a session that stays tells its numbers after ten seconds
	})},
	{finding: "backlog", level: Warn, says: []string{"1 barriers are older than 720:00:00"}, bring: createdAt(-31 * 24 * time.Hour)},

	{finding: "pending", level: Warn, says: []string{"idle in transaction", "after SELECT pgbarrier.create()", "application orders"},
		bring: limit("open", 0.0, idle("SET application_name = orders", "BEGIN", "SELECT pgbarrier.create()"))},
	{finding: "prepared", level: Warn, says: []string{"'order 42'", "has barriers"}, bring: limit("prepared", 0.0, func(t *testing.T, w *ward) {
		w.do(t, "BEGIN", "SELECT pgbarrier.create(false)", "PREPARE TRANSACTION 'order 42'")
		t.Cleanup(func() { w.do(t, "ROLLBACK PREPARED 'order 42'") })
	})},
	{finding: "snapshots", level: Warn, says: []string{"with a snapshot of"}, bring: limit("snapshot", 0.0, idle("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1"))},
	{finding: "snapshots", level: Warn, says: []string{"replication slot forgotten", "not in use"}, bring: limit("held_back", int64(0), func(t *testing.T, w *ward) {
		w.do(t, "SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')", "SELECT pgbarrier.create()", "SELECT pgbarrier.create()")
		t.Cleanup(func() { w.do(t, "SELECT pg_drop_replication_slot('forgotten')") })
	})},
	{finding: "listeners", level: Warn, says: []string{"1 listeners of pgbarrier, and 1 other"}, bring: limit("listeners", int64(1), listens, idle("LISTEN anything"))},
	{finding: "connections", level: Warn, says: []string{"of 9 connections of the database"}, bring: sql("ALTER DATABASE %s CONNECTION LIMIT 9")},
	{finding: "connections", level: Fail, says: []string{"of 0 connections of the database"}, bring: sql("ALTER DATABASE %s CONNECTION LIMIT 0")},
	{finding: "connections", level: Warn, says: []string{"connections of the role role_of_"}, before: worker, bring: func(t *testing.T, w *ward) {
		w.do(t, "ALTER ROLE "+w.role+" CONNECTION LIMIT 5")
	}},
	{finding: "connections", level: Warn, says: []string{"connections of the server"}, bring: limit("room", int64(1000))},
	{finding: "wraparound", level: Warn, says: []string{"transactions old"}, bring: limit("xids", int64(-1))},
}

func TestEachFindingIsReportedWhenItIsTrueAndNotBefore(t *testing.T) {
	all := causes
	if server.Major() >= 17 {
		all = append(all, cause{finding: "role-settings", level: Warn, says: []string{"transaction_timeout is 60000ms"}, bring: sql("ALTER DATABASE %s SET transaction_timeout = '1min'")})
	}
	for _, c := range all {
		t.Run(fmt.Sprintf("%s %v %s", c.finding, c.level, c.says[0]), func(t *testing.T) {
			w := newWard(t)
			if c.before != nil {
				c.before(t, w)
			}
			w.becomes(t, c.finding, OK)
			c.bring(t, w)
			w.becomes(t, c.finding, c.level, c.says...)
		})
	}
}

func TestWhatChecksCostIsKnownWithPgStatStatements(t *testing.T) {
	w := newWard(t)
	w.becomes(t, "cost", OK, "not there")
	if _, err := w.admin.Exec(t.Context(), "CREATE EXTENSION pg_stat_statements"); err != nil {
		t.Logf("not every installation has pg_stat_statements: %v", err)
		return
	}
	w.becomes(t, "cost", OK, "0 checks")
	if _, err := pgbarrier.Check(t.Context(), w.admin); err != nil {
		t.Fatal(err)
	}
	w.becomes(t, "cost", OK, "1 checks of ")
	w.limits = pgx.NamedArgs{"share": 0.0}
	w.becomes(t, "cost", Warn, "1 checks of ")
}

// A finding without a test could be wrong for years.
func TestEveryExaminationHasACause(t *testing.T) {
	tested := map[string]bool{"server": true, "cost": true} // the first is never reported, the other has a test of its own
	for _, c := range causes {
		tested[c.finding] = true
	}
	for _, e := range examinations {
		if !tested[e.name] {
			t.Errorf("%s has no cause", e.name)
		}
	}
}

// worker has the ward examined as a role with a worker's grants.
func worker(t *testing.T, w *ward) {
	w.role = w.newRole(t)
	w.do(t, "GRANT USAGE ON SCHEMA pgbarrier TO "+w.role, "GRANT EXECUTE ON FUNCTION pgbarrier.version(), pgbarrier.check(uuid[], xid8[]) TO "+w.role)
}

// owned has the schema belong to a role that is no superuser.
func owned(t *testing.T, w *ward) {
	role := w.newRole(t)
	w.do(t, "DROP SCHEMA pgbarrier CASCADE", "GRANT CREATE ON DATABASE "+w.db+" TO "+role, "SET ROLE "+role, pgbarrier.SQL, "RESET ROLE")
}

// createdAt makes a barrier of another time.
func createdAt(from time.Duration) func(t *testing.T, w *ward) {
	return func(t *testing.T, w *ward) {
		id := fmt.Sprintf("%012x", time.Now().Add(from).UnixMilli())
		w.do(t, fmt.Sprintf("INSERT INTO pgbarrier.barrier VALUES ('%s-%s-7000-8000-000000000001')", id[:8], id[8:]))
	}
}

func asksForAStandby(t *testing.T, w *ward) {
	w.do(t, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
	t.Cleanup(func() {
		w.do(t, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
		w.becomes(t, "synchronous-standby", OK)
	})
}

// holdsNotify has a COMMIT that notifies wait for a standby that there is not, and a NOTIFY wait for that.
func holdsNotify(t *testing.T, w *ward) {
	asksForAStandby(t, w)
	w.becomes(t, "synchronous-standby", Fail)
	holder, waits := w.connect(t), w.connect(t)
	execute(t, holder, "SET synchronous_commit = on", "BEGIN", "NOTIFY stranger", "SELECT pg_logical_emit_message(true, '', '')")
	ended := make(chan error, 2)
	go func() { ended <- holder.PgConn().Exec(context.Background(), "COMMIT").Close() }()
	locked := func(granted bool) bool {
		var found bool
		err := w.admin.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'object' AND database = 0 AND objid = 0 AND classid = 'pg_database'::regclass AND granted = $1)", granted).Scan(&found)
		return err == nil && found
	}
	for !locked(true) {
		time.Sleep(10 * time.Millisecond)
	}
	go func() { ended <- waits.PgConn().Exec(context.Background(), "NOTIFY patient").Close() }()
	for !locked(false) {
		time.Sleep(10 * time.Millisecond)
	}
	t.Cleanup(func() { // before the sessions are closed
		w.do(t, fmt.Sprintf("SELECT pg_cancel_backend(%d)", holder.PgConn().PID()))
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// listens runs a listener.
func listens(t *testing.T, w *ward) {
	pool, err := pgxpool.New(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	l, err := listener.New(pool, listener.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ran
		pool.Close()
	})
	<-l.Ready()
}
