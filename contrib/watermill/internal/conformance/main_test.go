package conformance

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/listener"
)

var server *devpg.Server

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = flag.Set("test.parallel", "12") // they wait for a server, or a clock, most of the time
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	if server, err = devpg.Start(ctx, devpg.Config{Settings: map[string]string{"fsync": "off", "max_connections": "300"}}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code = m.Run()
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

// database returns a database with a listener.
func database(t *testing.T) guardtest.Database {
	t.Helper()
	config, err := pgxpool.ParseConfig(server.DatabaseForTest(t))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 13
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := pgbarrier.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	barriers, err := listener.New(pool, listener.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = barriers.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return guardtest.Database{Pool: pool, Waiter: barriers}
}
