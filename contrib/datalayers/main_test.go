package datalayers

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier/devpg"
)

var server *devpg.Server

// Goroutines are not counted at the end: gorm with PrepareStmt leaves one for ever, and package notify starts none.
func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	if server, err = devpg.Start(ctx, devpg.Config{Settings: map[string]string{"fsync": "off"}}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code = m.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}
