package integration_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// simply runs one simple query, of any number of statements, and returns the token that it made.
func simply(t testing.TB, conn *pgx.Conn, sql string) (token pgbarrier.Token) {
	t.Helper()
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	for _, result := range results {
		for _, row := range result.Rows {
			if text := string(row[0]); strings.HasPrefix(text, "pgb1.") {
				if token, err = pgbarrier.ParseToken(text); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return token
}

// The texts that drivers, their users and what stands between them send for a COMMIT.
var commits = []string{
	"commit", "COMMIT", "Commit", "end", "END", "commit;", "COMMIT ;", " COMMIT", "\n\tcommit\n", "commit;;", "COMMIT; ",
	"COMMIT WORK", "commit transaction", "END TRANSACTION;", "END WORK",
	"COMMIT AND NO CHAIN", "commit and chain", "COMMIT WORK AND CHAIN", "COMMIT\nAND\nCHAIN;", "END AND CHAIN",
	"COMMIT -- done", "COMMIT--done", "-- now\nCOMMIT", "--\ncommit", "-- a\n-- b\n\n  commit;", "--\r\nCOMMIT",
	"/* app:web,trace_id='00-1' */ COMMIT", "/*app*/COMMIT", "COMMIT /* app:web */", "COMMIT/**/", "/**/commit/**/;/**/",
	"/* one */ /* two\n */ -- three\nCOMMIT /* four */ AND /* five */ CHAIN /* six */ ; -- seven", "/***/COMMIT/* **/",
	"COMMIT /* a;b */", "COMMIT -- a;b", "COMMIT; -- a;b", "COMMIT; /* begin; */", "/* it's; */ COMMIT", "-- commit;\nEND",
	"COMMIT /* é☃ */",
}

// In whatever way they are sent.
var protocols = map[string]func(ctx context.Context, conn *pgx.Conn, sql string) error{
	"a simple query": func(ctx context.Context, conn *pgx.Conn, sql string) error {
		return conn.PgConn().Exec(ctx, sql).Close()
	},
	"an extended query": func(ctx context.Context, conn *pgx.Conn, sql string) error {
		return conn.PgConn().ExecParams(ctx, sql, nil, nil, nil, nil).Read().Err
	},
	"a prepared statement": func(ctx context.Context, conn *pgx.Conn, sql string) error {
		statement, err := conn.PgConn().Prepare(ctx, "", sql, nil)
		if err != nil {
			return err
		}
		return conn.PgConn().ExecPrepared(ctx, statement.Name, nil, nil, nil).Read().Err
	},
	"a batch": func(ctx context.Context, conn *pgx.Conn, sql string) error {
		var batch pgx.Batch
		batch.Queue("SELECT 1")
		batch.Queue(sql)
		return conn.SendBatch(ctx, &batch).Close()
	},
}

func TestACommitIsAnnouncedHoweverItIsSaid(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	listener := listen(t, pool)
	for name, send := range protocols {
		producer := connect(t, pool)
		for _, text := range commits {
			execute(t, producer, "BEGIN")
			token := query[pgbarrier.Token](t, producer, "SELECT pgbarrier.create()")
			if err := send(t.Context(), producer, text); err != nil {
				t.Fatalf("%q as %s: %v", text, name, err)
			}
			if heard := hear(t, pool, listener); len(heard) != 1 || heard[0] != token.String() {
				t.Errorf("%q as %s: heard %q", text, name, heard)
			}
			want(t, pool, pgbarrier.Committed, token)
			if strings.Contains(strings.ToLower(text), "chain") && producer.PgConn().TxStatus() == 'T' {
				execute(t, producer, "ROLLBACK")
			}
		}
	}
}

func TestEveryDriversCommitIsAnnounced(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	listener := listen(t, pool)
	for name, producer := range map[string]func() pgbarrier.Token{
		"pgx": func() pgbarrier.Token { return committed(t, pool) },
		"pgx, one batch for all": func() (token pgbarrier.Token) {
			var batch pgx.Batch
			batch.Queue("BEGIN")
			batch.Queue("SELECT pgbarrier.create()").QueryRow(func(row pgx.Row) error { return row.Scan(&token) })
			batch.Queue("COMMIT")
			if err := pool.SendBatch(t.Context(), &batch).Close(); err != nil {
				t.Fatal(err)
			}
			return token
		},
		"pgconn's pipeline": func() pgbarrier.Token {
			conn := connect(t, pool)
			pipeline := conn.PgConn().StartPipeline(t.Context())
			for _, sql := range []string{"BEGIN", "SELECT pgbarrier.create()", "COMMIT"} {
				pipeline.SendQueryParams(sql, nil, nil, nil, nil)
			}
			if err := pipeline.Sync(); err != nil {
				t.Fatal(err)
			}
			var token pgbarrier.Token
			for range 3 {
				result, err := pipeline.GetResults()
				if err != nil {
					t.Fatal(err)
				}
				read := result.(*pgconn.ResultReader).Read()
				if read.Err != nil {
					t.Fatal(read.Err)
				}
				if len(read.Rows) == 1 {
					if err := token.UnmarshalText(read.Rows[0][0]); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := pipeline.Close(); err != nil {
				t.Fatal(err)
			}
			return token
		},
		"database/sql": func() pgbarrier.Token {
			tx, err := openSQL(t, pool).BeginTx(t.Context(), &sql.TxOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var token pgbarrier.Token
			if err := tx.QueryRow("SELECT pgbarrier.create()").Scan(&token); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			return token
		},
		"a savepoint": func() pgbarrier.Token {
			tx := begin(t, pool)
			inner, err := tx.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			token := create(t, inner)
			commit(t, inner)
			commit(t, tx)
			return token
		},
	} {
		token := producer()
		if heard := hear(t, pool, listener); len(heard) != 1 || heard[0] != token.String() {
			t.Errorf("%s: heard %q", name, heard)
		}
	}
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		producers := open(t, pool.Config().ConnString(), func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = mode })
		wantHeard(t, pool, listener, committed(t, producers))
	}
}

// Everything else may have more to do before it commits, for as long as it likes, or not commit at all.
func TestNothingIsAnnouncedBeforeTheClientSaysCommitAlone(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	listener := listen(t, pool)
	name := pool.Config().ConnConfig.Database
	execute(t, pool, "CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN PERFORM pgbarrier.create(); COMMIT; END $$")
	execute(t, pool, "CREATE FUNCTION commit_orders() RETURNS text LANGUAGE sql AS $$ SELECT pgbarrier.create() $$")
	for _, sql := range []string{
		"BEGIN; SELECT pgbarrier.create(); COMMIT",
		"SELECT pgbarrier.create(); SELECT 1",
		"SELECT pgbarrier.create()",
		"/* commit */ SELECT pgbarrier.create()",
		"BEGIN; SET CONSTRAINTS ALL IMMEDIATE; SELECT pgbarrier.create(); COMMIT",
		"BEGIN; SELECT pgbarrier.create(); SET CONSTRAINTS ALL IMMEDIATE; COMMIT",
		"BEGIN; SELECT pgbarrier.create(); PREPARE TRANSACTION '" + name + "a'",
		"SELECT commit_orders()",
		"CALL commits()",
		"DO $$ BEGIN PERFORM pgbarrier.create(); COMMIT; END $$",
		// The last three commit something of before first.
		"COMMIT; BEGIN; SELECT pgbarrier.create(); PREPARE TRANSACTION '" + name + "b'",
		"COMMIT; BEGIN; SELECT pgbarrier.create(); SET CONSTRAINTS ALL IMMEDIATE; COMMIT",
		"END; SELECT commit_orders()",
		"COMMIT /* ; */; BEGIN; SELECT pgbarrier.create(); PREPARE TRANSACTION '" + name + "c'",
		"COMMIT -- \n; BEGIN; SELECT pgbarrier.create(); PREPARE TRANSACTION '" + name + "d'",
	} {
		before := countBarriers(t, pool)
		conn := connect(t, pool)
		token := simply(t, conn, sql)
		rows, _ := pool.Query(t.Context(), "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
		prepared, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range prepared {
			execute(t, pool, "COMMIT PREPARED '"+name+"'")
		}
		if heard := hear(t, pool, listener); len(heard) > 0 {
			t.Errorf("%s: heard %q", sql, heard)
		}
		if n := countBarriers(t, pool); n != before+1 {
			t.Errorf("%s: %d barriers were made", sql, n-before)
		}
		if !token.IsZero() {
			want(t, pool, pgbarrier.Committed, token)
		}
	}
}
