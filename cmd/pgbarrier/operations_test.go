package main

import (
	"encoding/json"
	"net/url"
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
	if o := pgbarrierCommand(t, "", "migrate", "--print"); o.out != pgbarrier.SQL || o.code != exitOK {
		t.Errorf("migrate --print ended with %d and printed %d bytes, the SQL has %d", o.code, len(o.out), len(pgbarrier.SQL))
	}
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
		{"no grant: wait", nobody, []string{"wait", token}, exitError, []string{"lacks a grant"}},
		{"negative timeout", limited, []string{"wait", "--timeout=-1s", token}, exitUsage, []string{"cannot be negative"}},
		{"no token", limited, []string{"status"}, exitUsage, []string{"pgbarrier status --help"}},
		{"no such flag", limited, []string{"wait", "--forever", token}, exitUsage, []string{"--forever"}},
		{"no such command", limited, []string{"begin"}, exitUsage, []string{"begin"}},
		{"demo without a server", "", []string{"demo", "--database=postgres://u:secret@127.0.0.1:1/x"}, exitError, []string{"failed to connect", "--database"}},
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
	for _, command := range []string{"", "demo", "migrate", "status", "wait", "doctor", "purge", "version"} {
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
