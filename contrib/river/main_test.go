package guardriver

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// shared is the server of all tests that do not stop one, and riverURL a database of River's on it, in which tests have
// queues of their own.
var (
	shared   *devpg.Server
	riverURL string
)

var settings = devpg.Config{Settings: map[string]string{"fsync": "off", "max_connections": "500"}}

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = flag.Set("test.parallel", "8") // they wait for a server, or a clock, most of the time
	}
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	if shared, err = devpg.Start(ctx, settings); err != nil {
		return fail(err)
	}
	if err := openDatabases(ctx); err == nil {
		code = m.Run()
	} else {
		code = fail(err)
	}
	if err := shared.Close(); err != nil {
		code = fail(err)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		code = fail(err)
	}
	return code
}

// openDatabases makes River's, and the example's.
func openDatabases(ctx context.Context) (err error) {
	if riverURL, err = shared.CreateDatabase(ctx); err != nil {
		return err
	}
	if err := migrate(ctx, riverURL); err != nil {
		return err
	}
	for _, name := range []string{"EXAMPLE_DATABASE_URL", "EXAMPLE_RIVER_URL"} {
		url, err := shared.CreateDatabase(ctx)
		if err != nil {
			return err
		}
		if err := os.Setenv(name, url); err != nil {
			return err
		}
	}
	return nil
}

// migrate makes River's tables.
func migrate(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: silent})
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// startListener migrates a producer's database, and runs a listener on it until the test ends.
func startListener(t testing.TB, url string) (*pgxpool.Pool, *listener.Listener) {
	t.Helper()
	pool := open(t, url)
	if err := pgbarrier.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	l, err := listener.New(pool, listener.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return pool, l
}

// ownRiver makes a database of River's on a server.
func ownRiver(t testing.TB, server *devpg.Server) string {
	t.Helper()
	url := server.DatabaseForTest(t)
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	return url
}

func open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 15
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
