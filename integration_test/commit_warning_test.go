package integration_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// warned is a connection that collects the warnings it is given.
func warned(t testing.TB, pool *pgxpool.Pool) (conn *pgx.Conn, warnings *[]string) {
	t.Helper()
	warnings = new([]string)
	config := pool.Config().ConnConfig
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Severity == "WARNING" {
			*warnings = append(*warnings, n.Message)
		}
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn, warnings
}

// alone are the ways to create a barrier in autocommit.
var alone = map[string]func(t testing.TB, conn *pgx.Conn, sql string){
	"a simple query": func(t testing.TB, conn *pgx.Conn, sql string) { simply(t, conn, sql) },
	"a simple query with a semicolon": func(t testing.TB, conn *pgx.Conn, sql string) {
		simply(t, conn, "\n "+sql+" ;\n")
	},
	"an extended query": func(t testing.TB, conn *pgx.Conn, sql string) {
		if err := conn.PgConn().ExecParams(t.Context(), sql, nil, nil, nil, nil).Read().Err; err != nil {
			t.Fatal(err)
		}
	},
	"a prepared statement": func(t testing.TB, conn *pgx.Conn, sql string) {
		if _, err := conn.PgConn().Prepare(t.Context(), "", sql, nil); err != nil {
			t.Fatal(err)
		}
		if err := conn.PgConn().ExecPrepared(t.Context(), "", nil, nil, nil).Read().Err; err != nil {
			t.Fatal(err)
		}
	},
	"pgx":                        func(t testing.TB, conn *pgx.Conn, sql string) { execute(t, conn, sql) },
	"pgx, simply":                func(t testing.TB, conn *pgx.Conn, sql string) { execute(t, conn, sql, pgx.QueryExecModeSimpleProtocol) },
	"pgx, described anew":        func(t testing.TB, conn *pgx.Conn, sql string) { execute(t, conn, sql, pgx.QueryExecModeDescribeExec) },
	"pgx, without a description": func(t testing.TB, conn *pgx.Conn, sql string) { execute(t, conn, sql, pgx.QueryExecModeExec) },
	"pgx, a batch of nothing else": func(t testing.TB, conn *pgx.Conn, sql string) {
		var batch pgx.Batch
		batch.Queue(sql)
		if err := conn.SendBatch(t.Context(), &batch).Close(); err != nil {
			t.Fatal(err)
		}
	},
}

// The token is committed before anything that it is for can be: nobody means that.
func TestABarrierMadeInAutocommitIsWarnedOf(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for name, do := range alone {
		conn, warnings := warned(t, pool)
		for _, sql := range []string{notify.SQL(), notify.SQL(notify.WithoutAnnouncement()), `select "pgbarrier"."create" (true) AS barrier`, "SELECT * FROM pgbarrier.create()"} {
			do(t, conn, sql) // a new session looks up much between its messages
			*warnings = nil
			for range 3 { // a full machine may put them far apart
				if do(t, conn, sql); len(*warnings) > 0 {
					break
				}
			}
			if len(*warnings) != 1 || !strings.Contains((*warnings)[0], "commits by itself") {
				t.Errorf("%s as %s: warned of %q", sql, name, *warnings)
			}
		}
	}
}

func TestABarrierMadeInATransactionIsNotWarnedOf(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	conn, warnings := warned(t, pool)
	execute(t, conn, "CREATE TABLE orders (id integer)")
	for _, sql := range []string{
		"CREATE FUNCTION barrier() RETURNS text LANGUAGE sql AS 'SELECT pgbarrier.create()'",
		"CREATE FUNCTION barrier_first() RETURNS text LANGUAGE plpgsql AS $$ DECLARE t text := pgbarrier.create(); BEGIN INSERT INTO orders VALUES (1); RETURN t; END $$",
		"CREATE FUNCTION place_order() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO orders VALUES (1); RETURN pgbarrier.create(); END $$",
		"CREATE PROCEDURE orders() LANGUAGE plpgsql AS $$ BEGIN PERFORM pgbarrier.create(); INSERT INTO orders VALUES (1); COMMIT; PERFORM pgbarrier.create(); END $$",
	} {
		execute(t, conn, sql)
	}
	batch := func(statements ...string) func() {
		return func() {
			var batch pgx.Batch
			for _, sql := range statements {
				batch.Queue(sql)
			}
			if err := conn.SendBatch(t.Context(), &batch).Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	one := func(sql string, args ...any) func() { return func() { execute(t, conn, sql, args...) } }
	const create = "SELECT pgbarrier.create()"

	for name, do := range map[string]func(){
		"BEGIN in its own message": func() { one("BEGIN")(); one(create)(); one("COMMIT")() },
		"BEGIN in its own message, simply": func() {
			simply(t, conn, "BEGIN")
			simply(t, conn, create)
			simply(t, conn, "COMMIT")
		},
		"BEGIN in its own message, lone": func() { one("BEGIN")(); one(create)(); one("ROLLBACK")() },
		"a savepoint":                    func() { simply(t, conn, "BEGIN; SAVEPOINT s"); one(create)(); simply(t, conn, "RELEASE s; COMMIT") },
		"a chain": func() {
			simply(t, conn, "BEGIN; COMMIT AND CHAIN")
			one(create)()
			simply(t, conn, "COMMIT AND CHAIN")
			simply(t, conn, create)
			simply(t, conn, "COMMIT")
		},
		"constraints that are checked at once": func() {
			simply(t, conn, "BEGIN; SET CONSTRAINTS ALL IMMEDIATE")
			one(create)()
			simply(t, conn, create)
			simply(t, conn, "COMMIT")
		},
		"a batch that begins and commits": batch("BEGIN", create, "COMMIT"),
		"a batch in a transaction": func() {
			one("BEGIN")()
			batch("INSERT INTO orders VALUES (1)", create)()
			batch(create, create)()
			one("COMMIT")()
		},
		"a batch that is a transaction":               batch("INSERT INTO orders VALUES (1)", create),
		"a batch that is one, with the barrier first": batch(create, "INSERT INTO orders VALUES (1)"),
		"a batch that is one, with more barriers":     batch(create, "INSERT INTO orders VALUES (1)", create),
		"one simple query":                            func() { simply(t, conn, "BEGIN; INSERT INTO orders VALUES (1); "+create+"; COMMIT") },
		"one simple query of nothing else":            func() { simply(t, conn, "BEGIN; "+create+"; COMMIT") },
		"one simple query without BEGIN":              func() { simply(t, conn, "INSERT INTO orders VALUES (1); "+create) },
		"one simple query, the barrier first":         func() { simply(t, conn, create+"; INSERT INTO orders VALUES (1)") },
		"a function":                                  one("SELECT barrier()"),
		"a function that inserts first":               one("SELECT place_order()"),
		"a function that inserts then":                one("SELECT barrier_first()"),
		"a function, simply":                          func() { simply(t, conn, "SELECT barrier_first()") },
		"a statement with the changes":                one("WITH o AS (INSERT INTO orders VALUES (1) RETURNING id) SELECT id, pgbarrier.create() FROM o"),
		"a statement that puts it into a table":       one("CREATE TABLE IF NOT EXISTS messages AS SELECT pgbarrier.create()"),
		"DO": func() {
			simply(t, conn, "DO $$ BEGIN PERFORM pgbarrier.create(); INSERT INTO orders VALUES (1); END $$")
		},
		"DO with a transaction of its own": func() {
			simply(t, conn, "DO $$ BEGIN PERFORM pgbarrier.create(); COMMIT; PERFORM pgbarrier.create(); ROLLBACK; END $$")
		},
		"CALL": one("CALL orders()"),
		"rows": one("INSERT INTO pgbarrier.barrier SELECT FROM generate_series(1, 3)"),
	} {
		*warnings = nil
		for range 5 {
			do()
		}
		if len(*warnings) > 0 {
			t.Errorf("%s: warned of %q", name, *warnings)
		}
	}
}

// Whoever turns warnings into errors, or has none, has the same barriers.
func TestTheWarningBreaksNothing(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for _, setting := range []string{
		"client_min_messages = error", "client_min_messages = debug1", "client_min_messages = notice", "plpgsql.extra_warnings = 'all'",
		"plpgsql.extra_errors = 'all'", "plpgsql.check_asserts = off", "log_error_verbosity = verbose", "log_min_messages = warning", "log_min_error_statement = debug5",
		"DateStyle = 'German, DMY'", "TimeZone = 'Asia/Kathmandu'", "IntervalStyle = sql_standard", "extra_float_digits = -15",
		"pgbarrier.alone = ''", "pgbarrier.alone = 'x'", "pgbarrier.alone = '" + strings.Repeat("☃", 100_000) + "'", "standard_conforming_strings = off",
	} {
		conn, _ := warned(t, pool)
		execute(t, conn, "SET "+setting)
		for name, do := range alone {
			before := countBarriers(t, pool)
			do(t, conn, notify.SQL())
			if n := countBarriers(t, pool) - before; n != 1 {
				t.Errorf("with %.50s, by %s: %d barriers were made", setting, name, n)
			}
		}
		want(t, pool, pgbarrier.Committed, committed(t, conn))
		want(t, pool, pgbarrier.Aborted, aborted(t, conn))
	}
}
