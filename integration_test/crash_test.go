package integration_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// crashable is a server whose WAL reaches the disk only when a commit flushes it, so that a crash
// takes what has not been.
func crashable(t *testing.T) (*devpg.Server, *pgxpool.Pool) {
	t.Helper()
	s := devpg.ForTest(t, devpg.Config{Settings: map[string]string{
		"wal_writer_delay":       "10s",
		"wal_writer_flush_after": "1GB",
		"wal_buffers":            "16MB",
		"autovacuum":             "off",
		// No list of running transactions, which would be flushed every 15 s (LogStandbySnapshot).
		"wal_level":       "minimal",
		"max_wal_senders": "0",
	}})
	pool := open(t, s.URL())
	migrate(t, pool)
	// However slow the machine: wal_writer_delay cannot be longer.
	writer := query[int](t, pool, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
	if syscall.Kill(writer, syscall.SIGSTOP) == nil {
		t.Cleanup(func() { _ = syscall.Kill(writer, syscall.SIGCONT) }) // it would not stop with the server
	}
	return s, pool
}

func crash(t *testing.T, s *devpg.Server) {
	t.Helper()
	if err := s.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func restart(t *testing.T, s *devpg.Server, pool *pgxpool.Pool) {
	t.Helper()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool.Reset() // not what is tested here
}

// nextXID is the transaction id that will be handed out next.
func nextXID(t *testing.T, db pgbarrier.DB) uint64 {
	t.Helper()
	answer, err := wire.Check(t.Context(), db, []pgbarrier.Token(nil))
	if err != nil {
		t.Fatal(err)
	}
	return answer.Snapshot.Xmax
}

// The xid of a transaction that a crash took may never have reached the disk. It is then handed out
// again, to a transaction that may well commit: the row is the only proof.
func TestAfterACrashALostBarrierIsAbortedAlsoWhenItsXIDIsUsedAgain(t *testing.T) {
	t.Parallel()
	s, pool := crashable(t)
	kept := committed(t, pool)

	// The server may have flushed what it logged on its own, for example with the list of running transactions
	// that it logs now and then: then the crash keeps the xids, and nothing is tested.
	const producers = 5
	var lost []pgbarrier.Token
	for attempt := 1; lost == nil; attempt++ {
		for range producers {
			lost = append(lost, create(t, begin(t, pool)))
		}
		want(t, pool, pgbarrier.Pending, lost...)
		crash(t, s)
		restart(t, s, pool)
		if next := nextXID(t, pool); next > lost[0].XID {
			if attempt == 5 {
				t.Fatalf("five crashes kept the xids, the last %d, next is %d", lost[0].XID, next)
			}
			want(t, pool, pgbarrier.Aborted, lost...)
			lost = nil
		}
	}
	want(t, pool, pgbarrier.Aborted, lost...)
	want(t, pool, pgbarrier.Committed, kept)
	wantErr(t, "Poll", pgbarrier.Poll(t.Context(), pool, lost[0]), pgbarrier.ErrAborted)

	byXID := map[uint64]pgbarrier.Token{}
	for nextXID(t, pool) <= lost[producers-1].XID {
		again := committed(t, pool)
		byXID[again.XID] = again
		want(t, pool, pgbarrier.Aborted, lost...)
	}
	for _, old := range lost {
		again, reused := byXID[old.XID]
		if !reused {
			t.Errorf("xid %d was not handed out again", old.XID)
			continue
		}
		want(t, pool, pgbarrier.Committed, again)
		want(t, pool, pgbarrier.Aborted, old)
	}
}

// A commit that was not waited for is visible before it is durable, as the documentation says. After
// the crash the truth is that it never was.
func TestAnAsynchronousCommitThatACrashTookIsAbortedAfterwards(t *testing.T) {
	t.Parallel()
	s, pool := crashable(t)
	tx := begin(t, pool)
	execute(t, tx, "SET LOCAL synchronous_commit = off")
	token := create(t, tx)
	commit(t, tx)
	want(t, pool, pgbarrier.Committed, token)
	crash(t, s)
	restart(t, s, pool)
	want(t, pool, pgbarrier.Aborted, token)
}

func TestAPreparedTransactionOutlivesACrashAndIsStillPending(t *testing.T) {
	t.Parallel()
	s, pool := crashable(t)
	tx := begin(t, pool)
	token := createUnannounced(t, tx)
	execute(t, tx, "PREPARE TRANSACTION 'p'")
	crash(t, s)
	restart(t, s, pool)
	want(t, pool, pgbarrier.Pending, token)
	execute(t, pool, "COMMIT PREPARED 'p'")
	want(t, pool, pgbarrier.Committed, token)
}

// A wait outlives the server: what it is told in the end is what the server knows when it is back.
func TestAWaitGoesOnWhileTheServerIsDownAndEndsRight(t *testing.T) {
	t.Parallel()
	s, pool := crashable(t)
	poller := pgbarrier.Poller{MaxDelay: 20 * time.Millisecond}

	producer := begin(t, pool)
	lost := create(t, producer)
	prepared := begin(t, pool)
	survives := createUnannounced(t, prepared)
	execute(t, prepared, "PREPARE TRANSACTION 'p'")

	wait := func(token pgbarrier.Token) <-chan error {
		done := make(chan error, 1)
		go func() { done <- poller.Wait(t.Context(), pool, token) }()
		return done
	}
	lostDone, survivesDone := wait(lost), wait(survives)
	crash(t, s)
	// A wait that ends now says why, and that it knows nothing.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := poller.Wait(ctx, pool, survives)
	wantErr(t, "a wait while the server is down", err, context.DeadlineExceeded)
	if err.Error() == context.DeadlineExceeded.Error() {
		t.Error("the error does not tell that the server is down")
	}
	select {
	case err := <-survivesDone:
		t.Fatalf("a wait ended while the server was down: %v", err)
	default:
	}
	if err := s.Restart(t.Context()); err != nil { // the pool has to find out by itself
		t.Fatal(err)
	}
	// This one may have ended already: the producer's session can see the postmaster die, and abort,
	// while the waiter's still answers.
	wantErr(t, "the wait for what the crash took", <-lostDone, pgbarrier.ErrAborted)
	eventually(t, "the prepared transaction is committed", func() bool {
		_, err := pool.Exec(t.Context(), "COMMIT PREPARED 'p'")
		return err == nil
	})
	if err := <-survivesDone; err != nil {
		t.Errorf("the wait for what was committed afterwards: %v", err)
	}

	// A single connection does not come back.
	conn := connect(t, pool)
	pending := create(t, begin(t, pool))
	dead := make(chan error, 1)
	go func() { dead <- poller.Wait(t.Context(), conn, pending) }()
	crash(t, s)
	if err := <-dead; err == nil || t.Context().Err() != nil {
		t.Errorf("a wait on a dead connection ended with %v", err)
	}
}
