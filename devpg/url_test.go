package devpg

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestURLSourceMakesADatabaseAndDropsIt(t *testing.T) {
	ctx := t.Context()
	theirs := ForTest(t, Config{Source: SourceLocal}) // a server of somebody else's
	t.Setenv("DEVPG_URL", theirs.URL())
	databases := func() int {
		return query[int](t, theirs.URL(), "select count(*)::int from pg_database where datname like 'devpg%'")
	}

	s, err := Start(ctx, Config{})
	must(t, err)
	if s.Source() != SourceURL || s.Major() != theirs.Major() {
		t.Errorf("from %s, major %d", s.Source(), s.Major())
	}
	for sql, want := range map[string]string{
		"show server_encoding": "UTF8",
		"show timezone":        "UTC",
		"select datcollate::text from pg_database where datname = current_database()":     "C",
		"select count(*)::text from pg_class where relnamespace = 'public'::regnamespace": "0",
	} {
		if got := query[string](t, s.URL(), sql); got != want {
			t.Errorf("%s: %q, not %q", sql, got, want)
		}
	}
	another, err := Start(ctx, Config{})
	must(t, err)
	if another.URL() == s.URL() {
		t.Error("two servers share a database")
	}
	must(t, another.Close())
	_, err = s.CreateDatabase(ctx)
	must(t, err)
	t.Run("a test's own database", func(t *testing.T) {
		execute(t, s.DatabaseForTest(t), "create table t ()")
		if n := databases(); n != 3 {
			t.Errorf("%d databases, not 3", n)
		}
	})
	if n := databases(); n != 2 {
		t.Errorf("%d databases, not 2", n)
	}

	_, standbyErr := s.Standby(ctx)
	_, settingsErr := Start(ctx, Config{Settings: map[string]string{"commit_delay": "1"}})
	for name, err := range map[string]error{
		"Restart":  s.Restart(ctx),
		"Crash":    s.Crash(ctx),
		"Promote":  s.Promote(ctx),
		"Standby":  standbyErr,
		"Settings": settingsErr,
	} {
		if !errors.Is(err, ErrNotOurs) {
			t.Errorf("%s: %v", name, err)
		}
	}

	conn, err := connect(ctx, s.URL()) // a session must not keep the database
	must(t, err)
	defer closeConn(conn)
	must(t, s.Close())
	must(t, s.Close())
	if n := databases(); n != 0 {
		t.Errorf("%d databases left", n)
	}
}

func TestURLThatFailsIsNotPassedOver(t *testing.T) {
	const secret = "hunter2"
	for name, value := range map[string]string{
		"no server there": "postgres://x:" + secret + "@127.0.0.1:1/postgres",
		"no URL":          "host=127.0.0.1 password=" + secret,
	} {
		t.Setenv("DEVPG_URL", value)
		_, err := Start(t.Context(), Config{})
		if !errors.Is(err, ErrNoServer) {
			t.Fatalf("%s: got %v", name, err)
		}
		if !strings.Contains(err.Error(), "DEVPG_URL") || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "docker:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDatabaseKeepsTheRestOfTheURL(t *testing.T) {
	got, err := inDatabase("postgres://u:p%2F@h:1/postgres?sslmode=require&application_name=a", "devpg_1")
	must(t, err)
	u, err := url.Parse(got)
	must(t, err)
	if u.Path != "/devpg_1" || u.Query().Get("sslmode") != "require" || u.User.String() != "u:p%2F" {
		t.Error(got)
	}
}
