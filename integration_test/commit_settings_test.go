package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// Whatever session a producer has, COMMIT succeeds and the wait ends.
func TestACommitSucceedsInEverySession(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	for _, setting := range []string{
		"log_statement = 'all'", "log_min_messages = debug1", "log_min_error_statement = debug5", "log_min_duration_statement = 0", "log_duration = on",
		"log_parser_stats = on", "log_error_verbosity = verbose", "debug_print_plan = on", "log_lock_waits = on", "track_activities = off", "track_functions = 'all'",
		"client_encoding = 'LATIN1'", "client_encoding = 'SQL_ASCII'", "client_encoding = 'EUC_JP'", "client_encoding = 'WIN1252'", "client_encoding = 'SJIS'", "client_encoding = 'GB18030'",
		"session_replication_role = replica", "session_replication_role = local", "constraint_exclusion = on", "row_security = off", "jit = on; SET jit_above_cost = 0",
		"plan_cache_mode = force_generic_plan", "plan_cache_mode = force_custom_plan", "enable_indexscan = off; SET enable_seqscan = off; SET enable_bitmapscan = off",
		"work_mem = '64kB'", "temp_file_limit = 0", "default_transaction_isolation = serializable", "default_transaction_isolation = 'repeatable read'",
		"default_transaction_deferrable = on", "synchronous_commit = off", "zero_damaged_pages = on", "check_function_bodies = off", "max_stack_depth = '100kB'",
		"search_path = ''", "search_path = pg_temp", "search_path = nothing", "bytea_output = escape", "xmlbinary = hex", "quote_all_identifiers = on",
		"DateStyle = 'SQL, DMY'", "IntervalStyle = iso_8601", "IntervalStyle = sql_standard", "TimeZone = 'Pacific/Kiritimati'", "lc_messages = 'C'", "statement_timeout = '1h'",
		"statement_timeout = 2999", "lock_timeout = 1", "lock_timeout = '1d'", "idle_in_transaction_session_timeout = '1h'", "idle_session_timeout = '1h'",
		"client_connection_check_interval = '1s'", "backslash_quote = off", "escape_string_warning = off; SET standard_conforming_strings = off", "transform_null_equals = on",
		"array_nulls = off", "default_toast_compression = pglz", "force_parallel_mode = on", "debug_parallel_query = on", "parallel_setup_cost = 0; SET parallel_tuple_cost = 0",
		"application_name = 'commit'", "pgbarrier.announced = ''", "pgbarrier.announce = 'no'",
	} {
		conn := connect(t, pool)
		if _, err := conn.Exec(t.Context(), "SET "+setting); err != nil {
			t.Logf("%s: %v", setting, err) // of another major
			continue
		}
		for _, end := range []string{"COMMIT", "COMMIT /* r\u00e9sum\u00e9 */", "END", "COMMIT AND CHAIN"} {
			if strings.Contains(setting, "SJIS") || strings.Contains(setting, "SQL_ASCII") || strings.Contains(setting, "EUC") || strings.Contains(setting, "GB18030") || strings.Contains(setting, "DMY") {
				end = strings.ReplaceAll(end, "\u00e9", "e") // no text in those
			}
			if _, err := conn.PgConn().Exec(t.Context(), "BEGIN").ReadAll(); err != nil {
				t.Fatal(err)
			}
			token := simply(t, conn, "SELECT pgbarrier.create()")
			sub := l.Subscribe(token)
			if _, err := conn.PgConn().Exec(t.Context(), end).ReadAll(); err != nil {
				t.Errorf("with %s: %s: %v", setting, end, err)
			}
			wantEnd(t, sub, nil)
			sub.Close()
			if conn.PgConn().TxStatus() == 'T' {
				simply(t, conn, "ROLLBACK")
			}
		}
	}
}

// Or however the transaction comes to its end.
func TestEveryWayToEndATransactionHasItsOutcome(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	name := pool.Config().ConnConfig.Database
	execute(t, pool, `CREATE TABLE tokens (token text);
		CREATE PROCEDURE loops(n integer) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..n LOOP INSERT INTO tokens SELECT pgbarrier.create(); COMMIT; END LOOP; END $$;
		CREATE PROCEDURE chains() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO tokens SELECT pgbarrier.create(); COMMIT AND CHAIN; INSERT INTO tokens SELECT pgbarrier.create(); COMMIT; END $$;
		CREATE FUNCTION catches() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
			BEGIN INSERT INTO tokens SELECT pgbarrier.create(); RAISE EXCEPTION 'no'; EXCEPTION WHEN OTHERS THEN NULL; END;
			INSERT INTO tokens SELECT pgbarrier.create(); END $$`)
	const create = "INSERT INTO tokens SELECT pgbarrier.create()"
	for _, statements := range [][]string{
		{"BEGIN; " + create + "; COMMIT"},
		{create + "; " + create},
		{"BEGIN", create, "COMMIT AND CHAIN", create, "COMMIT AND CHAIN", create, "COMMIT"},
		{"BEGIN", create, "SET CONSTRAINTS ALL IMMEDIATE", create, "COMMIT"},
		{"BEGIN; SET CONSTRAINTS ALL IMMEDIATE", create, "SET CONSTRAINTS ALL DEFERRED", create, "COMMIT"},
		{"BEGIN", create, "PREPARE TRANSACTION '" + name + "'", "COMMIT PREPARED '" + name + "'"},
		{"BEGIN", create, "SET CONSTRAINTS ALL IMMEDIATE; PREPARE TRANSACTION '" + name + "'", "DISCARD ALL", "COMMIT PREPARED '" + name + "'"},
		{"CALL loops(20)"}, {"CALL chains()"}, {"SELECT catches()"}, {"BEGIN", "SELECT catches()", "COMMIT"},
		{"DO $$ BEGIN FOR i IN 1..3 LOOP " + create + "; COMMIT; END LOOP; END $$"},
		{"DISCARD ALL", "BEGIN", create, "COMMIT", "DISCARD ALL", "BEGIN", create, "COMMIT"},
		{"BEGIN; SET LOCAL session_replication_role = replica", create, "COMMIT"},
		{"BEGIN", create, "SET LOCAL session_replication_role = replica", "COMMIT"},
		{"BEGIN ISOLATION LEVEL SERIALIZABLE", create, "COMMIT"}, {"BEGIN ISOLATION LEVEL REPEATABLE READ", create, "END"},
		{"BEGIN", "SAVEPOINT a", create, "SAVEPOINT b", create, "RELEASE a", "COMMIT"},
		{"BEGIN", create, "SAVEPOINT a", create, "ROLLBACK TO a", "COMMIT"},
		{"BEGIN", create, "LISTEN x; NOTIFY x; UNLISTEN *", "COMMIT"},
		{"BEGIN", create, "CREATE TEMP TABLE t () ON COMMIT DROP", "COMMIT"},
		{"BEGIN", create, "DECLARE c CURSOR WITH HOLD FOR SELECT token FROM tokens", "COMMIT", "CLOSE c"},
		{"BEGIN", "SELECT pg_advisory_xact_lock(7018962344107663491)", create, "COMMIT"},
		{"SELECT pg_advisory_lock(7018962344107663491), pg_advisory_lock(7018962344107663492)", "BEGIN", create, "COMMIT", "SELECT pg_advisory_unlock_all()"},
		{"BEGIN", "ALTER TABLE tokens ADD COLUMN x integer", "INSERT INTO tokens SELECT pgbarrier.create()", "ALTER TABLE tokens DROP COLUMN x", "COMMIT"},
		{"BEGIN", "INSERT INTO pgbarrier.barrier SELECT FROM generate_series(1, 1000)", create, "COMMIT"},
		{"BEGIN", create, "COMMIT -- " + strings.Repeat("long ", 200_000)},
		{"/* " + strings.Repeat("long ", 200_000) + "*/ BEGIN; " + create + "; INSERT INTO pgbarrier.barrier SELECT FROM generate_series(1, 20); COMMIT"},
	} {
		conn := connect(t, pool)
		execute(t, pool, "TRUNCATE tokens")
		for _, sql := range statements {
			if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
				t.Fatalf("%.200q: %.50s: %v", statements, sql, err)
			}
		}
		rows, _ := pool.Query(t.Context(), "SELECT token FROM tokens")
		tokens, err := pgx.CollectRows(rows, pgx.RowTo[pgbarrier.Token])
		if err != nil || len(tokens) == 0 {
			t.Fatalf("%.200q: %d tokens, %v", statements, len(tokens), err)
		}
		want(t, pool, pgbarrier.Committed, tokens...)
		wait(t, l, nil, tokens...)
		if left := query[int](t, pool, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1", conn.PgConn().PID()); left != 0 {
			t.Errorf("%.200q: %d locks were left", statements, left)
		}
	}
}

// In databases of any encoding, also with comments that are no text in it.
func TestCommitsSucceedInADatabaseOfAnyEncoding(t *testing.T) {
	t.Parallel()
	control := emptyDatabase(t)
	for _, encoding := range []string{"SQL_ASCII", "LATIN1", "EUC_JP", "WIN1251", "UTF8"} {
		name := control.Config().ConnConfig.Database + "_" + strings.ToLower(encoding)
		execute(t, control, fmt.Sprintf("CREATE DATABASE %s TEMPLATE template0 ENCODING '%s' LC_COLLATE 'C' LC_CTYPE 'C'", name, encoding))
		config := control.Config().ConnConfig.Copy()
		config.Database = name
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		migrate(t, conn)
		execute(t, conn, "SET client_encoding = "+encoding)
		for _, end := range []string{"COMMIT", "COMMIT /* \xe9 */", "/* \xff\xfe */ COMMIT", "COMMIT -- \xc3\xa9"} {
			if encoding != "SQL_ASCII" && encoding != "LATIN1" && encoding != "WIN1251" {
				end = strings.ToValidUTF8(end, "")
			}
			if encoding == "EUC_JP" {
				end = strings.ReplaceAll(end, "\u00e9", "\xa4\xa2")
			}
			simply(t, conn, "BEGIN")
			token := simply(t, conn, "SELECT pgbarrier.create()")
			if _, err := conn.PgConn().Exec(t.Context(), end).ReadAll(); err != nil {
				t.Errorf("%s: %q: %v", encoding, end, err)
			}
			if got := simply(t, conn, "SELECT '"+token.String()+"' WHERE pgbarrier.status('"+token.String()+"') = 'committed'"); got != token {
				t.Errorf("%s: %q: %v has not committed", encoding, end, token)
			}
		}
		_ = conn.Close(t.Context())
		eventually(t, "the database is dropped", func() bool {
			_, err := control.Exec(t.Context(), "DROP DATABASE "+name)
			return err == nil
		})
	}
}
