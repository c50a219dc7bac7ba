package guardkafka

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier/devpg"
)

var server *devpg.Server

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = flag.Set("test.parallel", "8") // they wait for a server, or a clock, most of the time
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	if server, err = devpg.Start(ctx, devpg.Config{Settings: map[string]string{"fsync": "off"}}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if closeExample, err := openExample(ctx); err == nil {
		code = m.Run()
		closeExample()
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
