package integration_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// watching counts the sessions that watch now.
func watching(t testing.TB, pool *pgxpool.Pool) int {
	t.Helper()
	return query[int](t, pool, `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE '%pgbarrier.watch%' AND state = 'active' AND pid <> pg_backend_pid()`)
}

// What is not announced is seen by the watch, most of the time before a check sees it.
func TestTheWatchSeesAbortsAndUnannouncedCommits(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	var mu sync.Mutex
	ends := make(map[pgbarrier.Token]listener.How)
	l := run(t, pool, listener.Config{Trace: listener.Trace{Resolved: func(r listener.Resolved) {
		mu.Lock()
		defer mu.Unlock()
		ends[r.Token] = r.By
	}}})
	seen := make(map[pgbarrier.Status]bool)
	for range 50 {
		good, bad := begin(t, pool), begin(t, pool)
		goodToken, badToken := createUnannounced(t, good), create(t, bad)
		goodSub, badSub := pending(t, l, goodToken), pending(t, l, badToken)
		eventually(t, "it is watched", func() bool { return watching(t, pool) == 1 })
		commit(t, good)
		rollback(t, bad)
		wantEnd(t, goodSub, nil)
		wantEnd(t, badSub, pgbarrier.ErrAborted)
		mu.Lock()
		seen[pgbarrier.Committed] = seen[pgbarrier.Committed] || ends[goodToken] == listener.ByWatch
		seen[pgbarrier.Aborted] = seen[pgbarrier.Aborted] || ends[badToken] == listener.ByWatch
		mu.Unlock()
		if len(seen) == 2 && seen[pgbarrier.Committed] && seen[pgbarrier.Aborted] {
			break
		}
	}
	if !seen[pgbarrier.Committed] || !seen[pgbarrier.Aborted] {
		t.Errorf("seen by the watch: %v", seen)
	}
	eventually(t, "nothing is watched any more", func() bool { return watching(t, pool) == 0 })
}

// The watch is a help and no more: without the grant, or whatever becomes of its sessions.
func TestWaitsEndRightWithoutTheWatch(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	role := newRole(t, pool)
	grant(t, pool, "worker", role)
	execute(t, pool, "REVOKE EXECUTE ON FUNCTION pgbarrier.watch(text[], xid8[], integer, integer) FROM "+role)
	var mu sync.Mutex
	var log bytes.Buffer
	l := run(t, as(t, pool, role), listener.Config{Logger: slog.New(slog.NewTextHandler(&lockedWriter{mu: &mu, to: &log}, nil))})
	good, bad := begin(t, pool), begin(t, pool)
	goodSub, badSub := pending(t, l, createUnannounced(t, good)), pending(t, l, create(t, bad))
	logged := func() string {
		mu.Lock()
		defer mu.Unlock()
		return log.String()
	}
	eventually(t, "the watch has been refused", func() bool { return strings.Contains(logged(), "cannot watch") })
	commit(t, good)
	rollback(t, bad)
	wantEnd(t, goodSub, nil)
	wantEnd(t, badSub, pgbarrier.ErrAborted)
	if n := strings.Count(logged(), "cannot watch"); n != 1 || !strings.Contains(logged(), "permission denied") {
		t.Errorf("logged %d times:\n%s", n, logged())
	}

	l = run(t, pool, listener.Config{})
	for range 20 {
		good, bad := begin(t, pool), begin(t, pool)
		goodSub, badSub := pending(t, l, createUnannounced(t, good)), pending(t, l, create(t, bad))
		execute(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND query LIKE '%pgbarrier.watch%' AND pid <> pg_backend_pid()`)
		commit(t, good)
		rollback(t, bad)
		wantEnd(t, goodSub, nil)
		wantEnd(t, badSub, pgbarrier.ErrAborted)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

// Write implements io.Writer.
func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

// The outcomes of what has ended are those of a check, in the tokens' order, and of the rest pending.
func TestAWatchJudgesWhatHasEnded(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := migratedDatabase(t)
	running := begin(t, pool)
	open := create(t, running)
	good, bad, lost := committed(t, pool), aborted(t, pool), lostAtSavepoint(t, pool)
	watch := func(xids []uint64, tokens ...pgbarrier.Token) []pgbarrier.Status {
		t.Helper()
		j, err := pgbarrier.Watch(ctx, pool, tokens, xids, time.Millisecond, time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if j.Origin != good.Origin || !j.Snapshot.Running(open.XID) || j.Snapshot.Ended(open.XID) || !j.Snapshot.Ended(bad.XID) {
			t.Errorf("%+v", j)
		}
		return j.Statuses
	}
	const p, c, a = pgbarrier.Pending, pgbarrier.Committed, pgbarrier.Aborted
	for _, test := range []struct {
		tokens []pgbarrier.Token
		want   []pgbarrier.Status
	}{
		{[]pgbarrier.Token{open}, []pgbarrier.Status{p}},
		{[]pgbarrier.Token{open, good, bad, open, lost}, []pgbarrier.Status{p, c, a, p, a}},
		{[]pgbarrier.Token{good}, []pgbarrier.Status{c}},
		{nil, []pgbarrier.Status{}},
	} {
		got := watch([]uint64{open.XID, bad.XID}, test.tokens...)
		if len(got) != len(test.want) {
			t.Fatalf("%v, want %v", got, test.want)
		}
		for i := range got {
			if got[i] != test.want[i] {
				t.Errorf("%v, want %v", got, test.want)
			}
		}
	}

	// It waits for the end, whoever's it is.
	answered := make(chan error, 1)
	go func() {
		j, err := pgbarrier.Watch(ctx, pool, nil, []uint64{open.XID}, time.Minute, time.Millisecond)
		if err == nil && !j.Snapshot.Ended(open.XID) {
			t.Errorf("answered with %v", j.Snapshot)
		}
		answered <- err
	}()
	eventually(t, "it watches", func() bool { return watching(t, pool) == 1 })
	stillWaiting(t, answered)
	commit(t, running)
	select {
	case err := <-answered:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the watch did not see the commit")
	}
}
