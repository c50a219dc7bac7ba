package devpg

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const childVar = "X"

func child() {}

func query[T any](t testing.TB, url, sql string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := connect(ctx, url)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer closeConn(conn)
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func execute(t testing.TB, url, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := connect(ctx, url)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer closeConn(conn)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestCrashKeepsWhatWasCommitted(t *testing.T) {
	t0 := time.Now()
	s := ForTest(t)
	t.Log("start", time.Since(t0), s.URL(), s.Major(), s.Source())
	execute(t, s.URL(), "create table t as select 1 as n")
	t0 = time.Now()
	if err := s.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Log("crash", time.Since(t0))
	t0 = time.Now()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Log("restart", time.Since(t0))
	if n := query[int](t, s.URL(), "select n from t"); n != 1 {
		t.Fatalf("n = %d", n)
	}
	t0 = time.Now()
	if err := s.RestartWith(t.Context(), map[string]string{"commit_delay": "1000"}); err != nil {
		t.Fatal(err)
	}
	t.Log("restart", time.Since(t0))
	t0 = time.Now()
	s.Close()
	t.Log("close", time.Since(t0))
}
