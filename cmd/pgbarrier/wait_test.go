package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// awaitListening returns when somebody listens in conn's database.
func awaitListening(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var listening bool
		must(t, conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND query ILIKE '%listen%' AND pid <> pg_backend_pid())`).Scan(&listening))
		if listening {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody listens")
		}
	}
}

func TestWaitEndsWithTheTransactions(t *testing.T) {
	url := migrated(t)
	watch := connectTo(t, url)
	first, committed := begin(t, connectTo(t, url))
	second, aborted := begin(t, connectTo(t, url))
	cmd, out, errs := command(t, url, "wait", "--timeout", "30s", committed.String(), aborted.String())
	must(t, cmd.Start())
	awaitListening(t, watch)
	must(t, second.Rollback(t.Context()))
	must(t, first.Commit(t.Context()))
	finish(t, cmd.Wait(), out, errs).expect(t, exitAborted, "committed      "+committed.String(), "aborted        "+aborted.String())
}

func TestWaitThatGivesUpTellsWhatItWaitedFor(t *testing.T) {
	url := migrated(t)
	conn := connectTo(t, url)
	_, pending := begin(t, conn)
	pgbarrierCommand(t, url, "wait", "--timeout=50ms", pending.String()).
		expect(t, exitPending, fmt.Sprintf("producer pid %d, idle in transaction", conn.PgConn().PID()))
}

func TestWaitEndsWithASignal(t *testing.T) {
	url := migrated(t)
	_, pending := begin(t, connectTo(t, url))
	cmd, out, errs := command(t, url, "wait", pending.String())
	must(t, cmd.Start())
	awaitListening(t, connectTo(t, url))
	must(t, cmd.Process.Signal(os.Interrupt))
	finish(t, cmd.Wait(), out, errs).expect(t, 130, "interrupted")
}
