package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier/notify"
)

// samples returns a token of each outcome, in a database, by the name of the outcome.
func samples(t *testing.T, url string) map[string]string {
	t.Helper()
	conn := connectTo(t, url)
	tokens := map[string]string{"invalid": "pgb1.019aaf60"}

	tx, token := begin(t, conn)
	must(t, tx.Commit(t.Context()))
	tokens["expired"] = token.String()
	time.Sleep(5 * time.Millisecond) // a purge is by the millisecond of creation
	pgbarrierCommand(t, url, "purge", "--retention", "1ms").expect(t, exitOK, "purged 1 barriers")

	tx, token = begin(t, conn)
	must(t, tx.Commit(t.Context()))
	tokens["committed"] = token.String()

	tx, token = begin(t, conn)
	must(t, tx.Rollback(t.Context()))
	tokens["aborted"] = token.String()

	tx, token = begin(t, connectTo(t, migrated(t)))
	must(t, tx.Commit(t.Context()))
	tokens["wrong database"] = token.String()

	_, token = begin(t, conn)
	tokens["pending"] = token.String()
	return tokens
}

var codes = map[string]int{
	"committed": 0, "pending": 3, "aborted": 4, "expired": 5, "wrong database": 6, "invalid": 7,
}

func TestEveryOutcomeHasItsExitCode(t *testing.T) {
	url := migrated(t)
	for name, token := range samples(t, url) {
		t.Run(name, func(t *testing.T) {
			pgbarrierCommand(t, url, "status", token).expect(t, codes[name], name, token)
			pgbarrierCommand(t, url, "wait", "--timeout", "50ms", token).expect(t, codes[name], name, token)
			pgbarrierCommand(t, url, "wait", "--poll", "--timeout", "50ms", token).expect(t, codes[name], name)
			for _, args := range [][]string{{"status", "--json", token}, {"wait", "--json", "--timeout", "50ms", token}} {
				o := pgbarrierCommand(t, url, args...)
				o.expect(t, codes[name])
				var f finding
				if err := json.Unmarshal([]byte(o.out), &f); err != nil || f.Outcome != name || f.Token != token {
					t.Errorf("%v printed %q (%v)", args, o.out, err)
				}
				if name != "invalid" && (f.XID == 0 || f.Created == nil) {
					t.Errorf("%v tells no xid or time: %q", args, o.out)
				}
			}
		})
	}
}

func TestOfSeveralTokensTheWorstExitCodeCounts(t *testing.T) {
	url := migrated(t)
	tokens := samples(t, url)
	all := []string{"committed", "pending", "aborted", "expired", "wrong database", "invalid"}
	for i := range all {
		args := []string{"status"}
		for _, name := range all[:i+1] {
			args = append(args, tokens[name])
		}
		o := pgbarrierCommand(t, url, args...)
		o.expect(t, codes[all[i]])
		if n := strings.Count(o.out, "\n"); n != i+1 {
			t.Errorf("%d lines for %d tokens:\n%s", n, i+1, o.out)
		}
		args[0] = "wait"
		o = pgbarrierCommand(t, url, append(args, "--timeout", "50ms")...)
		o.expect(t, codes[all[i]])
		if n := strings.Count(o.out, "\n"); n != i+1 {
			t.Errorf("%d lines for %d tokens:\n%s", n, i+1, o.out)
		}
	}
}

func TestTokensFromStdin(t *testing.T) {
	url := migrated(t)
	tokens := samples(t, url)
	cmd, out, errs := command(t, url, "status", "-", tokens["committed"])
	cmd.Stdin = strings.NewReader("\n  " + tokens["aborted"] + "\n" + tokens["committed"] + " nonsense\n")
	o := finish(t, cmd.Run(), out, errs)
	o.expect(t, exitInvalid, "nonsense")
	var got []string
	for line := range strings.Lines(o.out) {
		got = append(got, strings.Fields(line)[0])
	}
	if want := "[aborted committed invalid committed]"; fmt.Sprint(got) != want {
		t.Errorf("outcomes are %v, want %v", got, want)
	}

	cmd, out, errs = command(t, url, "status", "-")
	finish(t, cmd.Run(), out, errs).expect(t, exitUsage, "no token was given")
}

func TestStatusTellsWhoKeepsATransactionOpen(t *testing.T) {
	url := migrated(t)
	conn := connectTo(t, url)
	_, token := begin(t, conn)
	pid := fmt.Sprint(conn.PgConn().PID())
	pgbarrierCommand(t, url, "status", token.String()).
		expect(t, exitPending, "pid "+pid, "idle in transaction", `"orders of the test"`, "snapshot ", fmt.Sprint("xid ", token.XID))

	var f finding
	o := pgbarrierCommand(t, url, "status", "--json", token.String())
	must(t, json.Unmarshal([]byte(o.out), &f))
	if p := f.Producer; p == nil || fmt.Sprint(p.PID) != pid || p.State != "idle in transaction" || p.Since == nil || p.Client == "" && os.Getenv("DEVPG_URL") == "" {
		t.Errorf("the producer is %+v", p)
	}

	conn = connectTo(t, url)
	_, prepared := begin(t, conn, notify.WithoutAnnouncement())
	_, err := conn.Exec(t.Context(), "PREPARE TRANSACTION 'gid of the test'")
	must(t, err)
	pgbarrierCommand(t, url, "status", prepared.String(), token.String()).
		expect(t, exitPending, `prepared transaction "gid of the test"`, "pid "+pid)
	_, err = conn.Exec(t.Context(), "ROLLBACK PREPARED 'gid of the test'")
	must(t, err)
	pgbarrierCommand(t, url, "status", prepared.String()).expect(t, exitAborted)
}
