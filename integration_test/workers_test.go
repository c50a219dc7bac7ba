package integration_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// The workers of docs/workers wait by SQL alone, on their own sessions.
func TestTheNodeWorkerDoesWhatEachOutcomeAsksFor(t *testing.T) {
	t.Parallel()
	node, npm := needs(t, "node", "nodejs"), needs(t, "npm", "npm")
	dir := t.TempDir()
	for _, name := range []string{"worker.mjs", "package.json"} {
		text, err := os.ReadFile(filepath.Join("../docs/workers", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(t.Context(), npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("npm install: %v\n%s", err, out)
		}
		t.Skipf("NOT TESTED: npm install: %v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), node, "worker.mjs")
	run.Dir = dir
	workerTells(t, run)
}

func TestThePythonWorkerDoesWhatEachOutcomeAsksFor(t *testing.T) {
	t.Parallel()
	workerInterpreted(t, "python3", "python3-psycopg", "-c", "import psycopg", "../docs/workers/worker.py")
}

func TestTheRubyWorkerDoesWhatEachOutcomeAsksFor(t *testing.T) {
	t.Parallel()
	workerInterpreted(t, "ruby", "ruby-pg", "-e", `require "pg"`, "../docs/workers/worker.rb")
}

// workerInterpreted runs a worker where its interpreter and driver are installed, which CI need not have.
func workerInterpreted(t *testing.T, program, debianPackage, flag, probe, worker string) {
	t.Helper()
	for _, path := range []string{"/usr/bin/" + program, program} { // Debian's has Debian's drivers
		if exec.CommandContext(t.Context(), path, flag, probe).Run() == nil {
			workerTells(t, exec.CommandContext(t.Context(), path, worker))
			return
		}
	}
	t.Skipf("NOT TESTED: %s cannot do %q: apt-get install %s", program, probe, debianPackage)
}

func workerTells(t *testing.T, run *exec.Cmd) {
	t.Helper()
	pool := migratedDatabase(t)
	run.Env = append(os.Environ(), "DATABASE_URL="+pool.Config().ConnString())
	in, err := run.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	run.Stderr = &errs
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	tell := func(token, words string) {
		t.Helper()
		if lines.Scan(); lines.Text() != token+" "+words {
			t.Fatalf("the worker says %q of %s, want %q\n%s", lines.Text(), token, words, errs.String())
		}
	}

	tx := begin(t, pool)
	token := create(t, tx)
	fmt.Fprintln(in, token)
	eventually(t, "the worker waits", func() bool { return sleeps(t, pool) })
	commit(t, tx)
	tell(token.String(), "do the work, its rows can be read")
	for token, words := range map[pgbarrier.Token]string{
		aborted(t, pool):                  "drop it, its transaction rolled back",
		committed(t, migratedDatabase(t)): "to the dead letters: wrong database",
	} {
		fmt.Fprintln(in, token)
		tell(token.String(), words)
	}
	fmt.Fprintln(in, "pgb1.")
	tell("pgb1.", "to the dead letters: invalid")
	_ = in.Close()
	if err := run.Wait(); err != nil {
		t.Errorf("%v\n%s", err, errs.String())
	}
}

// sleeps reports whether a wait in SQL is between two looks.
func sleeps(t *testing.T, pool *pgxpool.Pool) bool {
	return query[bool](t, pool, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')")
}
