package integration_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// The words in which the tests are written. All of them fail the test rather than return an error.

// emptyDatabase is a fresh database without the schema.
func emptyDatabase(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return open(t, server.DatabaseForTest(t))
}

// migratedDatabase is a fresh database with the schema.
func migratedDatabase(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool := emptyDatabase(t)
	migrate(t, pool)
	return pool
}

func migrate(t testing.TB, db pgbarrier.DB) {
	t.Helper()
	if err := pgbarrier.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
}

// open makes a pool that is closed before the database goes. change is told its configuration.
func open(t testing.TB, url string, change ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	record(t)
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 20
	for _, c := range change {
		c(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// connect makes a connection of its own to pool's database.
func connect(t testing.TB, pool *pgxpool.Pool) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t testing.TB, db pgbarrier.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// query returns the single value that sql asks for.
func query[T any](t testing.TB, db pgbarrier.DB, sql string, args ...any) T {
	t.Helper()
	var value T
	if err := db.QueryRow(t.Context(), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

type beginner interface {
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
}

// begin opens a transaction that is rolled back at the end if the test has not ended it.
func begin(t testing.TB, db beginner, opts ...pgx.TxOptions) pgx.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), append(opts, pgx.TxOptions{})[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func create(t testing.TB, tx notify.Tx, opts ...notify.Option) pgbarrier.Token {
	t.Helper()
	token, err := notify.Create(t.Context(), tx, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func commit(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func rollback(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// committed returns the token of a transaction that has committed.
func committed(t testing.TB, db beginner) pgbarrier.Token {
	t.Helper()
	tx := begin(t, db)
	token := create(t, tx)
	commit(t, tx)
	return token
}

// aborted returns the token of a transaction that was rolled back.
func aborted(t testing.TB, db beginner) pgbarrier.Token {
	t.Helper()
	tx := begin(t, db)
	token := create(t, tx)
	rollback(t, tx)
	return token
}

// lostAtSavepoint returns the token of a barrier rolled back to a savepoint of a transaction that
// committed.
func lostAtSavepoint(t testing.TB, db beginner) pgbarrier.Token {
	t.Helper()
	tx := begin(t, db)
	execute(t, tx, "SAVEPOINT s")
	token := create(t, tx)
	execute(t, tx, "ROLLBACK TO SAVEPOINT s")
	execute(t, tx, "SELECT pg_catalog.pg_current_xact_id()")
	commit(t, tx)
	return token
}

// want fails the test unless each of the tokens has the status.
func want(t testing.TB, db pgbarrier.DB, status pgbarrier.Status, tokens ...pgbarrier.Token) {
	t.Helper()
	got, err := pgbarrier.Check(t.Context(), db, tokens...)
	if err != nil {
		t.Fatal(err)
	}
	if expected := slices.Repeat([]pgbarrier.Status{status}, len(tokens)); !slices.Equal(got, expected) {
		t.Fatalf("statuses are %v, want %v", got, expected)
	}
}

func wantErr(t testing.TB, what string, err, expected error) {
	t.Helper()
	if !errors.Is(err, expected) {
		t.Fatalf("%s: the error is %v, want %v", what, err, expected)
	}
}

// patience is how long a test waits for what must come, so that a full machine fails none.
const patience = 2 * time.Minute

// eventually waits for what PostgreSQL gives no signal of.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// origin is the database's, as tokens have it.
func origin(t testing.TB, db pgbarrier.DB) string {
	t.Helper()
	return query[string](t, db, "SELECT origin FROM pgbarrier.here")
}

// countBarriers counts the rows that are barriers, and not marks.
func countBarriers(t testing.TB, db pgbarrier.DB) int {
	t.Helper()
	return query[int](t, db, "SELECT count(*) FROM pgbarrier.barrier WHERE id >= '00000001-0000-0000-0000-000000000000'")
}

// insertBarriers makes many barriers at once, as create does, and announces none of them.
func insertBarriers(t testing.TB, db pgbarrier.DB, n int) {
	t.Helper()
	execute(t, db, fmt.Sprintf("BEGIN; SET LOCAL pgbarrier.announce = off; INSERT INTO pgbarrier.barrier SELECT FROM generate_series(1, %d); COMMIT", n))
}

// disturbed makes every check and every create run a statement of PL/pgSQL first.
func disturbed(t testing.TB, db pgbarrier.DB, statement string) {
	t.Helper()
	execute(t, db, `ALTER VIEW pgbarrier.here RENAME TO undisturbed;
		CREATE FUNCTION pgbarrier.disturb() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN `+statement+`; RETURN true; END $$;
		CREATE VIEW pgbarrier.here AS SELECT u.* FROM (SELECT pgbarrier.disturb() OFFSET 0) AS d, pgbarrier.undisturbed u`)
}
