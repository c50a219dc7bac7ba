package guardwatermill

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier/devpg"
)

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	server, err := devpg.Start(ctx, devpg.Config{Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		return fail(err)
	}
	_ = os.Setenv("EXAMPLE_DATABASE_URL", server.URL()) // the example is a program like a user's
	code = m.Run()
	if err := server.Close(); err != nil {
		code = fail(err)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		code = fail(err)
	}
	return code
}
