package guardrabbitmq

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
)

// Shared by all tests that do not stop them.
var (
	server *devpg.Server
	broker *devbroker.Server
)

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = flag.Set("test.parallel", "8") // they wait for a server most of the time
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	if server, err = devpg.Start(ctx, devpg.Config{Settings: map[string]string{"fsync": "off"}}); err == nil {
		broker, err = devbroker.Start(ctx, devbroker.RabbitMQ)
	}
	if err == nil {
		err = exampleEnvironment(ctx)
	}
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if server != nil {
		err = server.Close()
	}
	if broker != nil {
		if e := broker.Close(); err == nil {
			err = e
		}
	}
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// exampleEnvironment is what the example reads, which is a program like a user's.
func exampleEnvironment(ctx context.Context) error {
	url, err := server.CreateDatabase(ctx)
	if err != nil {
		return err
	}
	if err := os.Setenv("DATABASE_URL", url); err != nil {
		return err
	}
	return os.Setenv("AMQP_URL", broker.URL)
}
