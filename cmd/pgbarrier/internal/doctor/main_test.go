package doctor

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// server is that of all tests. One runs at a time, because much of what they bring about is the whole server's.
var server *devpg.Server

const testTimeout = 2 * time.Minute

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	var err error
	if server, err = devpg.Start(ctx, devpg.Config{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err = restart(ctx); err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// restart gives the server what some causes need: LOCAL, so that no other commit waits for a standby that one of them
// asks for, a small queue where there is one, and pg_stat_statements, which not every installation has.
func restart(ctx context.Context) error {
	settings := map[string]string{"synchronous_commit": "local", "wal_level": "logical"}
	if server.Major() >= 17 {
		settings["max_notify_queue_pages"] = "64"
	}
	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var statements bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')").Scan(&statements); err != nil {
		return err
	}
	if statements {
		settings["shared_preload_libraries"] = "pg_stat_statements"
	}
	return server.RestartWith(ctx, settings)
}

// A ward is a database with the schema, a superuser's session in it, and how it is going to be examined.
type ward struct {
	url    string
	db     string
	admin  *pgx.Conn
	limits pgx.NamedArgs
	now    func() time.Time
	role   string // instead of the superuser
}

func newWard(t *testing.T) *ward {
	t.Helper()
	w := &ward{url: server.DatabaseForTest(t)}
	w.admin = w.connect(t)
	w.db = w.admin.Config().Database
	if err := pgbarrier.Migrate(t.Context(), w.admin); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *ward) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(conn) })
	return conn
}

// do executes statements as the superuser, on a session of their own if conn is nil.
func (w *ward) do(t *testing.T, statements ...string) {
	t.Helper()
	execute(t, w.admin, statements...)
}

func execute(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := conn.Exec(context.WithoutCancel(t.Context()), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// newRole makes a role that can log in and has no right. It goes with the test.
func (w *ward) newRole(t *testing.T) string {
	t.Helper()
	role := "role_of_" + w.db
	w.do(t, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() { w.do(t, "DROP OWNED BY "+role+" CASCADE", "DROP ROLE "+role) })
	return role
}

func (w *ward) patient(t *testing.T) *Patient {
	t.Helper()
	config, err := pgx.ParseConfig(w.url)
	if err != nil {
		t.Fatal(err)
	}
	if w.role != "" {
		config.User, config.Password = w.role, ""
	}
	p, err := Open(context.WithoutCancel(t.Context()), config, 0) // also when the test is over
	if err != nil {
		t.Fatal(err)
	}
	for name, limit := range w.limits {
		if _, known := p.limits[name]; !known {
			t.Fatalf("there is no limit %s", name)
		}
		p.limits[name] = limit
	}
	if w.now != nil {
		p.now = w.now
	}
	t.Cleanup(p.Close)
	return p
}

// examine makes one examination.
func (w *ward) examine(t *testing.T, name string) Finding {
	t.Helper()
	for _, e := range examinations {
		if e.name == name {
			p := w.patient(t)
			defer p.Close()
			return p.examine(context.WithoutCancel(t.Context()), e)
		}
	}
	t.Fatalf("there is no examination %s", name)
	return Finding{}
}

// becomes fails the test unless the finding gets the level soon, and says the words then.
func (w *ward) becomes(t *testing.T, name string, level Level, words ...string) {
	t.Helper()
	begun := time.Now()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		f := w.examine(t, name)
		said := f.Level == level
		for _, word := range words {
			said = said && strings.Contains(f.Found, word)
		}
		switch {
		case said && level == OK == (f.Remedy == "") && !strings.Contains(f.Found, "\n"):
			return
		case time.Since(begun) > testTimeout:
			t.Fatalf("found %+v, want %v and %q", f, level, words)
		}
		time.Sleep(pause)
	}
}
