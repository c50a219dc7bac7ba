package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/notify"
)

// asCommand makes the test binary be the command, so that the race detector sees what it does.
const asCommand = "PGBARRIER_TEST_AS_COMMAND"

// server is that of all tests; each has a database of its own.
var server *devpg.Server

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main() // does not return
	}
	os.Exit(func() int {
		var err error
		if server, err = devpg.Start(context.Background(), devpg.Config{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer server.Close()
		return m.Run()
	}())
}

// outcome is what a run of the command left.
type outcome struct {
	out, err string
	code     int
}

// command returns a run of pgbarrier that has not started. It sees no database but url.
func command(t *testing.T, url string, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PG") && !strings.HasPrefix(v, "DATABASE_URL=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	// The race detector would pause for a second at the end of each.
	cmd.Env = append(cmd.Env, asCommand+"=1", "GORACE=atexit_sleep_ms=0")
	if url != "" {
		cmd.Env = append(cmd.Env, "DATABASE_URL="+url)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	return cmd, &out, &errs
}

func pgbarrierCommand(t *testing.T, url string, args ...string) outcome {
	t.Helper()
	cmd, out, errs := command(t, url, args...)
	return finish(t, cmd.Run(), out, errs)
}

func finish(t *testing.T, err error, out, errs *bytes.Buffer) outcome {
	t.Helper()
	o := outcome{out: out.String(), err: errs.String()}
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		o.code = exited.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(o.err, "panic:") || strings.Contains(o.err, "DATA RACE") {
		t.Fatalf("the command broke:\n%s", o.err)
	}
	return o
}

// expect fails the test unless the run ended with code and its stdout or stderr has the words.
func (o outcome) expect(t *testing.T, code int, words ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", o.code, code, o.out, o.err)
	}
	for _, w := range words {
		if !strings.Contains(o.out+o.err, w) {
			t.Errorf("nothing says %q\nstdout: %s\nstderr: %s", w, o.out, o.err)
		}
	}
}

// migrated returns the URL of a fresh database with the schema.
func migrated(t *testing.T) string {
	t.Helper()
	url := server.DatabaseForTest(t)
	conn := connectTo(t, url)
	if err := pgbarrier.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	return url
}

func connectTo(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["application_name"] = "orders of the test"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// begin creates a barrier in a transaction that it leaves open.
func begin(t *testing.T, conn *pgx.Conn, opts ...notify.Option) (pgx.Tx, pgbarrier.Token) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token, err := notify.Create(t.Context(), tx, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return tx, token
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
