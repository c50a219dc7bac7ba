package devpg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// everyMajor runs the test against one local server of each major version that
// is installed, and of each that a directory in DEVPG_TEST_BINDIRS (a list like
// PATH) has.
func everyMajor(t *testing.T, test func(t *testing.T, c Config)) {
	dirs := append(installedDirs(t.Context()), filepath.SplitList(os.Getenv("DEVPG_TEST_BINDIRS"))...)
	seen := map[int]bool{}
	for _, dir := range dirs {
		major, err := majorOf(t.Context(), dir)
		if err != nil {
			t.Fatalf("%s %v", dir, err)
		}
		if seen[major] || major < defaultMinMajor {
			continue
		}
		seen[major] = true
		t.Run(strconv.Itoa(major), func(t *testing.T) { test(t, Config{Source: SourceLocal, BinDir: dir}) })
	}
	if len(seen) == 0 {
		t.Fatal("no local server programs: ", whatToInstall)
	}
}

func query[T any](t testing.TB, url, sql string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
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

// eventually polls, for what the server gives no signal of.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// took logs the time since the last call.
func stopwatch(t testing.TB) (took func(what string)) {
	last := time.Now()
	return func(what string) {
		t.Helper()
		t.Logf("%s took %v", what, time.Since(last).Round(time.Millisecond))
		last = time.Now()
	}
}

// TestServerLife is the promise of each method, in the order of a server's
// life, on each major; one server per major keeps the test short.
func TestServerLife(t *testing.T) {
	everyMajor(t, func(t *testing.T, c Config) { serverLife(t, c) })
}

func serverLife(t *testing.T, c Config) {
	ctx := t.Context()
	c.Settings = map[string]string{"commit_delay": "7", "test.quotes": `it's a \ here`}
	took := stopwatch(t)
	s := ForTest(t, c)
	took("Start")
	url := s.URL()

	if s.Source() != c.Source {
		t.Errorf("source %q", s.Source())
	}
	if v := query[string](t, url, "show server_version_num"); v[:2] != strconv.Itoa(s.Major()) {
		t.Errorf("Major() = %d, server_version_num = %s", s.Major(), v)
	}
	for sql, want := range map[string]string{
		"show server_encoding": "UTF8",
		"show timezone":        "UTC",
		"select datcollate::text from pg_database where datname = current_database()": "C",
		"show fsync":            "on",
		"show full_page_writes": "on",
		"show commit_delay":     "7",
		"show test.quotes":      `it's a \ here`,
		"select rolsuper::text from pg_roles where rolname = current_user":                             "true",
		"select (current_setting('max_prepared_transactions')::int >= 16)::text":                       "true",
		"select (current_setting('max_wal_senders')::int >= 4)::text":                                  "true",
		"select count(*)::text from pg_settings where source = 'command line' and name like 'commit%'": "0",
	} {
		if got := query[string](t, url, sql); got != want {
			t.Errorf("%s: %q, not %q", sql, got, want)
		}
	}

	t.Run("a crash keeps what was committed and disconnects everyone", func(t *testing.T) {
		execute(t, url, "create table kept as select 1 as n")
		conn, err := connect(ctx, url)
		must(t, err)
		defer closeConn(conn)
		_, err = conn.Exec(ctx, "begin; insert into kept values (2)")
		must(t, err)
		took := stopwatch(t)
		must(t, s.Crash(ctx))
		took("Crash")
		if err := conn.Ping(ctx); err == nil {
			t.Error("a session outlived the crash")
		}
		if c, err := connect(ctx, url); err == nil {
			c.Close(ctx)
			t.Error("the server accepts connections after the crash")
		}
		must(t, s.Crash(ctx)) // of a crashed server: nothing to do
		took = stopwatch(t)
		must(t, s.Restart(ctx))
		took("Restart after a crash")
		if s.URL() != url {
			t.Errorf("the URL changed from %s to %s", url, s.URL())
		}
		if n := query[int](t, url, "select sum(n)::int from kept"); n != 1 {
			t.Errorf("sum of what was committed is %d, not 1", n)
		}
	})

	t.Run("a restart takes further settings and keeps the old", func(t *testing.T) {
		took := stopwatch(t)
		read := make(chan string)
		go func() { read <- s.URL() }() // while the server restarts: for the race detector
		must(t, s.RestartWith(ctx, map[string]string{"commit_siblings": "9"}))
		<-read
		took("RestartWith")
		if d, n := query[string](t, url, "show commit_delay"), query[string](t, url, "show commit_siblings"); d != "7" || n != "9" {
			t.Errorf("commit_delay = %s, commit_siblings = %s", d, n)
		}
		if s.URL() != url {
			t.Errorf("the URL changed from %s to %s", url, s.URL())
		}
	})

	t.Run("a setting that is no good leaves a server that can be restarted", func(t *testing.T) {
		err := s.RestartWith(ctx, map[string]string{"wal_level": "nonsense"})
		if err == nil {
			t.Fatal("no error")
		}
		if want := "nonsense"; !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not show the server's log (%q):\n%v", want, err)
		}
		must(t, s.RestartWith(ctx, map[string]string{"wal_level": "replica"}))
	})

	t.Run("databases are made and dropped with sessions in them", func(t *testing.T) {
		took := stopwatch(t)
		db, err := s.CreateDatabase(ctx)
		must(t, err)
		took("CreateDatabase")
		execute(t, db, "create table t ()")
		if n := query[int](t, url, "select count(*)::int from pg_class where relname = 't'"); n != 0 {
			t.Error("the databases are not separate")
		}
		conn, err := connect(ctx, db)
		must(t, err)
		defer closeConn(conn)
		must(t, s.DropDatabase(ctx, db))
		if err := s.DropDatabase(ctx, db); err == nil {
			t.Error("dropped twice")
		}
		if err := s.DropDatabase(ctx, url); err == nil {
			t.Error("DropDatabase of what CreateDatabase did not make")
		}
		if n := query[int](t, url, "select count(*)::int from pg_database where datname like 'devpg%'"); n != 0 {
			t.Errorf("%d databases left", n)
		}
	})

	t.Run("a standby follows, is promoted, and follows again", func(t *testing.T) {
		took := stopwatch(t)
		standby, err := s.Standby(ctx)
		must(t, err)
		took("Standby")
		execute(t, url, "insert into kept values (10)")
		sum := func() int { return query[int](t, standby.URL(), "select sum(n)::int from kept") }
		eventually(t, "the standby has what the primary committed", func() bool { return sum() == 11 })
		if !query[bool](t, standby.URL(), "select pg_is_in_recovery()") {
			t.Error("the standby is none")
		}

		must(t, s.Crash(ctx))
		must(t, s.Restart(ctx))
		execute(t, url, "insert into kept values (100)")
		eventually(t, "the standby follows the restarted primary", func() bool { return sum() == 111 })

		second, err := standby.Standby(ctx)
		must(t, err)
		if !query[bool](t, second.URL(), "select pg_is_in_recovery()") {
			t.Error("the standby's standby is none")
		}

		took = stopwatch(t)
		must(t, standby.Promote(ctx))
		took("Promote")
		execute(t, standby.URL(), "insert into kept values (1000)")
		eventually(t, "the standby's standby follows", func() bool {
			return query[int](t, second.URL(), "select sum(n)::int from kept") == 1111
		})
		if err := s.Promote(ctx); err == nil {
			t.Error("a primary was promoted")
		}
		must(t, standby.RestartWith(ctx, map[string]string{"commit_siblings": "3"}))
		execute(t, standby.URL(), "insert into kept values (1)")
		must(t, standby.Close())
		if err := second.Restart(ctx); err == nil {
			t.Error("Close of a server left its standby")
		}
	})

	took = stopwatch(t)
	must(t, s.Close())
	took("Close")
	must(t, s.Close())
	if c, err := connect(ctx, url); err == nil {
		c.Close(ctx)
		t.Error("the server accepts connections after Close")
	}
	for name, err := range map[string]error{
		"Restart": s.Restart(ctx),
		"Crash":   s.Crash(ctx),
		"Promote": s.Promote(ctx),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}
