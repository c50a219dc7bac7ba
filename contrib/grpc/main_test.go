package guardgrpc

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// postgres is shared by all tests.
var postgres *devpg.Server

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	if postgres, err = devpg.Start(ctx, devpg.Config{Settings: map[string]string{"fsync": "off"}}); err != nil {
		return fail(err)
	}
	_ = os.Setenv("EXAMPLE_DATABASE_URL", postgres.URL())
	code = m.Run()
	if err := postgres.Close(); err != nil {
		code = fail(err)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		code = fail(err)
	}
	return code
}

// startListener makes a database, and runs a listener on it until the test ends.
func startListener(t testing.TB) (*pgxpool.Pool, *listener.Listener) {
	t.Helper()
	config, err := pgxpool.ParseConfig(postgres.DatabaseForTest(t))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 15
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
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
