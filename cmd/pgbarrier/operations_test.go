package main

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pgbarrier/pgbarrier"
)

func TestMigrate(t *testing.T) {
	url := server.DatabaseForTest(t)
	pgbarrierCommand(t, url, "migrate").expect(t, exitOK, "version 2", "is installed")
	o := pgbarrierCommand(t, "", "migrate", "--database", url, "--json")
	o.expect(t, exitOK)
	var result map[string]any
	if err := json.Unmarshal([]byte(o.out), &result); err != nil || result["schema_version"] != 2.0 {
		t.Errorf("migrate --json printed %q (%v)", o.out, err)
	}
	for _, flag := range []string{"--sql", "--print"} {
		if o := pgbarrierCommand(t, "", "migrate", flag); o.out != pgbarrier.SQL || o.code != exitOK {
			t.Errorf("migrate %s ended with %d and printed %d bytes, the SQL has %d", flag, o.code, len(o.out), len(pgbarrier.SQL))
		}
	}
	pgbarrierCommand(t, url, "migrate", "--check", "--dry-run").expect(t, exitUsage, "--check")
}

func TestMigrateThatIsOnlyAskedChangesNothing(t *testing.T) {
	url := server.DatabaseForTest(t)
	conn := connectTo(t, url)
	_, err := conn.Exec(t.Context(), `CREATE FUNCTION freeze() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no DDL now'; END $$;
		CREATE EVENT TRIGGER frozen ON ddl_command_start EXECUTE FUNCTION freeze()`)
	must(t, err)
	pgbarrierCommand(t, url, "migrate", "--check").expect(t, exitError, "pgbarrier migrate")
	pgbarrierCommand(t, url, "migrate", "--dry-run").expect(t, exitOK, "create schema pgbarrier, version 2")
	pgbarrierCommand(t, url, "migrate", "--dry-run", "--json").expect(t, exitOK, `"plan":["create schema`)
	pgbarrierCommand(t, url, "migrate").expect(t, exitError, "no DDL now")
	_, err = conn.Exec(t.Context(), "ALTER EVENT TRIGGER frozen DISABLE")
	must(t, err)
	pgbarrierCommand(t, url, "migrate").expect(t, exitOK)
	pgbarrierCommand(t, url, "migrate", "--check").expect(t, exitOK, "version 2", "is installed")
	pgbarrierCommand(t, url, "migrate", "--dry-run").expect(t, exitOK, "nothing is to be done")
	pgbarrierCommand(t, url, "migrate", "--dry-run", "--json").expect(t, exitOK, `"plan":[]`)
}

// What it waits for is told while it waits, and a signal ends it without harm.
func TestMigrateTellsWhatItWaitsForAndCanBeInterrupted(t *testing.T) {
	url := migrated(t)
	conn := connectTo(t, url)
	_, err := conn.Exec(t.Context(), "DROP TRIGGER announce ON pgbarrier.barrier")
	must(t, err)
	tx, _ := begin(t, conn)
	cmd, out, _ := command(t, url, "migrate")
	errs := &until{words: `"orders of the test", idle in transaction`, said: make(chan struct{})}
	cmd.Stderr = errs
	must(t, cmd.Start())
	select {
	case <-errs.said:
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not tell whom it waits for")
	}
	must(t, cmd.Process.Signal(os.Interrupt))
	finish(t, cmd.Wait(), out, &errs.text).expect(t, 130, "interrupted")
	pgbarrierCommand(t, url, "migrate", "--check").expect(t, exitError, "lacks trigger announce")
	must(t, tx.Commit(t.Context()))
	pgbarrierCommand(t, url, "migrate").expect(t, exitOK, "is installed")
}

func TestPurgeCanBeInterrupted(t *testing.T) {
	url := migrated(t)
	conn := connectTo(t, url)
	_, err := conn.Exec(t.Context(), "INSERT INTO pgbarrier.barrier SELECT FROM generate_series(1, 25000)")
	must(t, err)
	// The second batch waits for somebody who locks one of its rows.
	tx, err := conn.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), `SELECT FROM pgbarrier.barrier WHERE id = (
		SELECT id FROM pgbarrier.barrier WHERE id > '00000001-0000-0000-0000-000000000000' ORDER BY id OFFSET 15000 LIMIT 1) FOR UPDATE`)
	must(t, err)
	cmd, out, errs := command(t, url, "purge", "--retention=1ms")
	must(t, cmd.Start())
	watch := connectTo(t, url)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var waits bool
		must(t, watch.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted AND $1::integer = ANY (pg_blocking_pids(pid)))", conn.PgConn().PID()).Scan(&waits))
		if waits {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the purge does not come to the second batch")
		}
	}
	must(t, cmd.Process.Signal(os.Interrupt))
	finish(t, cmd.Wait(), out, errs).expect(t, 130, "interrupted: 10000 barriers were purged")
	must(t, tx.Rollback(t.Context()))
	pgbarrierCommand(t, url, "purge", "--retention=1ms").expect(t, exitOK, "purged 15000 barriers")
}

// until closes said when the words have been written to it.
type until struct {
	text  bytes.Buffer // not embedded: what copies to u would use its ReadFrom
	words string
	said  chan struct{}
}

func (u *until) Write(p []byte) (int, error) {
	n, err := u.text.Write(p)
	if u.words != "" && strings.Contains(u.text.String(), u.words) {
		u.words = ""
		close(u.said)
	}
	return n, err
}

func TestPurge(t *testing.T) {
	url := migrated(t)
	tx, _ := begin(t, connectTo(t, url))
	must(t, tx.Commit(t.Context()))
	pgbarrierCommand(t, url, "purge", "--retention", "1d12h").expect(t, exitOK, "purged 0 barriers older than 1d12h0m0s")
	time.Sleep(5 * time.Millisecond)
	o := pgbarrierCommand(t, url, "purge", "--retention=1ms", "--json")
	if o.expect(t, exitOK); o.out != `{"purged":1}`+"\n" {
		t.Errorf("purge --json printed %q", o.out)
	}
	for _, bad := range []string{"0", "0d", "0s", "-1h", "7", "d", "1h1d", "999999999d", ""} {
		pgbarrierCommand(t, url, "purge", "--retention="+bad).expect(t, exitUsage)
	}
	pgbarrierCommand(t, url, "purge").expect(t, exitUsage, "--retention")
}

func TestRenewOrigin(t *testing.T) {
	url := migrated(t)
	tx, token := begin(t, connectTo(t, url))
	must(t, tx.Commit(t.Context()))
	pgbarrierCommand(t, url, "renew-origin").expect(t, exitOK, "origin is ")
	pgbarrierCommand(t, url, "status", token.String()).expect(t, exitWrongDatabase, "wrong database")
	pgbarrierCommand(t, url, "renew-origin", "--json").expect(t, exitOK, `{"origin":"`)
	tx, token = begin(t, connectTo(t, url))
	must(t, tx.Commit(t.Context()))
	pgbarrierCommand(t, url, "status", token.String()).expect(t, exitOK, "committed")
}

func TestVersion(t *testing.T) {
	pgbarrierCommand(t, "", "version").expect(t, exitOK, "pgbarrier ")
	o := pgbarrierCommand(t, "", "version", "--json")
	if o.expect(t, exitOK); !json.Valid([]byte(o.out)) {
		t.Errorf("version --json printed %q", o.out)
	}
}

func TestErrorsAreOneLineThatSaysWhatToDo(t *testing.T) {
	token := "pgb1.019aaf60-7c00-7000-8000-000000000000.742.0badcafe"
	fresh := server.DatabaseForTest(t)
	limited := migrated(t)
	admin := connectTo(t, limited)
	role := admin.Config().Database + "_nobody"
	_, err := admin.Exec(t.Context(), "CREATE ROLE "+role)
	must(t, err)
	defer func() {
		_, err := admin.Exec(t.Context(), "DROP ROLE "+role)
		must(t, err)
	}()
	u, err := url.Parse(limited)
	must(t, err)
	q := u.Query()
	q.Set("options", "-c role="+role)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // pgx takes a plus for a plus
	nobody := u.String()
	for _, test := range []struct {
		name, url string
		args      []string
		code      int
		words     []string
	}{
		{"nobody listens there", "postgres://u:secret@127.0.0.1:1/x", []string{"status", token}, exitError, []string{"failed to connect", "DATABASE_URL"}},
		{"no such database", strings.Replace(fresh, "/devpg_", "/nothing_", 1), []string{"purge", "--retention=1d"}, exitError, []string{"does not exist"}},
		{"not a URL", "postgres://u:secret@:x:y/", []string{"migrate"}, exitUsage, []string{"connection string"}},
		{"no schema: status", fresh, []string{"status", token}, exitError, []string{"pgbarrier migrate"}},
		{"no schema: wait", fresh, []string{"wait", token}, exitError, []string{"pgbarrier migrate"}},
		{"no schema: purge", fresh, []string{"purge", "--retention=1d"}, exitError, []string{"pgbarrier migrate"}},
		{"no grant: status", nobody, []string{"status", token}, exitError, []string{"lacks a grant"}},
		{"no schema: explain", fresh, []string{"explain", token}, exitError, []string{"pgbarrier migrate"}},
		{"no grant: explain", nobody, []string{"explain", token}, exitError, []string{"lacks a grant"}},
		{"no grant: wait", nobody, []string{"wait", token}, exitError, []string{"lacks a grant"}},
		{"negative timeout", limited, []string{"wait", "--timeout=-1s", token}, exitUsage, []string{"cannot be negative"}},
		{"no token", limited, []string{"status"}, exitUsage, []string{"pgbarrier status --help"}},
		{"no such flag", limited, []string{"wait", "--forever", token}, exitUsage, []string{"--forever"}},
		{"no such command", limited, []string{"begin"}, exitUsage, []string{"begin"}},
		{"demo without a server", "", []string{"demo", "--database=postgres://u:secret@127.0.0.1:1/x"}, exitError, []string{"failed to connect", "--database"}},
		{"no such queue", limited, []string{"demo", "--queue=kafka"}, exitUsage, []string{"nats", "rabbitmq"}},
		{"no orders", limited, []string{"demo", "--orders=0"}, exitUsage, []string{"--orders"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := pgbarrierCommand(t, test.url, test.args...)
			o.expect(t, test.code, test.words...)
			if strings.Count(o.err, "\n") != 1 || o.out != "" || strings.Contains(o.err, "secret") {
				t.Errorf("stdout: %q, stderr: %q", o.out, o.err)
			}
		})
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	for _, command := range []string{"", "demo", "migrate", "status", "explain", "wait", "doctor", "purge", "version"} {
		o := pgbarrierCommand(t, "", append(strings.Fields(command), "--help")...)
		if o.expect(t, exitOK, "Usage: pgbarrier"); command != "version" {
			o.expect(t, exitOK, "Exit codes:")
		}
		for line := range strings.Lines(o.out) {
			if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > 80 {
				t.Errorf("%s --help has a line of more than 80 characters: %s", command, line)
			}
		}
	}
	pgbarrierCommand(t, "").expect(t, exitUsage, "Usage: pgbarrier")
}

func TestTheDemoSaysWhatToInstallForAQueue(t *testing.T) {
	cmd, out, errs := command(t, "", "demo", "--queue=redis")
	cmd.Env = append(cmd.Env, "PATH=")
	finish(t, cmd.Run(), out, errs).expect(t, exitError, "redis-server is not installed: apt-get install redis-server")
}

func TestDemoAsACommand(t *testing.T) {
	url := server.DatabaseForTest(t)
	o := pgbarrierCommand(t, "", "demo", "--orders=40", "--database", url, "--json")
	o.expect(t, exitOK, "with pgbarrier")
	var result struct{ Approaches []map[string]any }
	if err := json.Unmarshal([]byte(o.out), &result); err != nil || len(result.Approaches) != 4 {
		t.Errorf("demo --json printed %q (%v)", o.out, err)
	}

	// Without --database it must not touch what DATABASE_URL names; here it could not.
	pgbarrierCommand(t, "postgres://u@127.0.0.1:1/x", "demo", "--orders=20").
		expect(t, exitOK, "throwaway", "With pgbarrier each of", "Next:")
}
