package integration_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// run runs a listener until the test ends, and waits until it is ready.
func run(t testing.TB, pool *pgxpool.Pool, config listener.Config) *listener.Listener {
	t.Helper()
	l := runUnready(t, pool, config)
	select {
	case <-l.Ready():
	case <-time.After(patience):
		t.Fatalf("not ready: %+v", l.Stats())
	}
	return l
}

func runUnready(t testing.TB, pool *pgxpool.Pool, config listener.Config) *listener.Listener {
	t.Helper()
	l, err := listener.New(pool, config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != context.Canceled && !t.Failed() {
			t.Errorf("Run: %v", err)
		}
	})
	return l
}

// wait fails the test unless the wait ends with expected (nil: committed) before long.
func wait(t testing.TB, l *listener.Listener, expected error, tokens ...pgbarrier.Token) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.Wait(ctx, tokens...); !errors.Is(err, expected) {
		t.Fatalf("the wait ended with %v, want %v; %+v", err, expected, l.Stats())
	}
}

// pending begins a wait and returns once a check has found it pending.
func pending(t testing.TB, l *listener.Listener, tokens ...pgbarrier.Token) *listener.Subscription {
	t.Helper()
	before := l.Stats().Checks
	sub := l.Subscribe(tokens...)
	t.Cleanup(sub.Close)
	eventually(t, "a check asked for the tokens", func() bool { return l.Stats().Checks > before+1 })
	if err := sub.Err(); err != listener.ErrPending {
		t.Fatalf("the wait ended with %v, want it pending", err)
	}
	return sub
}

func wantEnd(t testing.TB, sub *listener.Subscription, expected error) {
	t.Helper()
	select {
	case <-sub.Done():
	case <-time.After(patience):
		t.Fatal("the wait did not end")
	}
	if err := sub.Err(); !errors.Is(err, expected) {
		t.Fatalf("the wait ended with %v, want %v", err, expected)
	}
}

func TestAWaitEndsWithTheCommitAndTheUpdatesCanBeRead(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE orders (id bigint PRIMARY KEY)")
	l := run(t, pool, listener.Config{})
	for i := range 200 {
		tx := begin(t, pool)
		execute(t, tx, "INSERT INTO orders VALUES ($1)", i)
		token := create(t, tx)
		sub := l.Subscribe(token)
		// Reads as soon as the wait ends, be it too early.
		read := make(chan error, 1)
		go func() {
			<-sub.Done()
			read <- pool.QueryRow(t.Context(), "SELECT id FROM orders WHERE id = $1", i).Scan(new(int))
		}()
		commit(t, tx)
		wantEnd(t, sub, nil)
		wantErr(t, "reading the order whose wait has ended", <-read, nil)
	}
	if stats := l.Stats(); stats.ResolvedByAnnouncement == 0 || stats.Waiting != 0 || stats.Pending != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestAWaitEndsAbortedWithWhateverAbortsTheTransaction(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})

	tx := begin(t, pool)
	sub := pending(t, l, create(t, tx))
	rollback(t, tx)
	wantEnd(t, sub, pgbarrier.ErrAborted)

	// The producer's backend is killed.
	tx = begin(t, pool)
	sub = pending(t, l, create(t, tx))
	execute(t, pool, "SELECT pg_terminate_backend($1)", tx.Conn().PgConn().PID())
	wantEnd(t, sub, pgbarrier.ErrAborted)

	// The producer's connection is cut.
	conn := connect(t, pool)
	tx = begin(t, conn)
	sub = pending(t, l, create(t, tx))
	if err := conn.PgConn().Conn().Close(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, sub, pgbarrier.ErrAborted)

	// A statement fails, and COMMIT becomes a rollback.
	tx = begin(t, pool)
	sub = pending(t, l, create(t, tx))
	if _, err := tx.Exec(t.Context(), "SELECT 1/0"); err == nil {
		t.Fatal("division by zero succeeded")
	}
	wantErr(t, "commit of a failed transaction", tx.Commit(t.Context()), pgx.ErrTxCommitRollback)
	wantEnd(t, sub, pgbarrier.ErrAborted)

	// A deferred constraint fails at commit, after the announcement was queued.
	execute(t, pool, "CREATE TABLE once (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)")
	tx = begin(t, pool)
	sub = pending(t, l, create(t, tx))
	execute(t, tx, "INSERT INTO once VALUES (1), (1)")
	if err := tx.Commit(t.Context()); err == nil {
		t.Fatal("commit of a broken constraint succeeded")
	}
	wantEnd(t, sub, pgbarrier.ErrAborted)

	wait(t, l, pgbarrier.ErrAborted, lostAtSavepoint(t, pool))
}

func TestACommitWhoseAnswerTheProducerNeverSawHasTheTrueOutcome(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	for range 50 {
		conn := connect(t, pool)
		tx := begin(t, conn)
		token := create(t, tx)
		sub := l.Subscribe(token)
		// COMMIT is sent, and the connection is gone before the answer.
		conn.PgConn().Frontend().SendQuery(&pgproto3.Query{String: "COMMIT"})
		if err := conn.PgConn().Frontend().Flush(); err != nil {
			t.Fatal(err)
		}
		if err := conn.PgConn().Conn().Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-sub.Done():
		case <-time.After(patience):
			t.Fatal("the wait did not end")
		}
		exists := query[bool](t, pool, "SELECT EXISTS (SELECT FROM pgbarrier.barrier WHERE id = $1)", token.ID)
		if err := sub.Err(); exists != (err == nil) || !exists && !errors.Is(err, pgbarrier.ErrAborted) {
			t.Fatalf("the wait ended with %v, and the row exists: %v", err, exists)
		}
	}
}

func TestAWaitForAPreparedTransactionEndsWhenItIsEnded(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	for end, expected := range map[string]error{"COMMIT": nil, "ROLLBACK": pgbarrier.ErrAborted} {
		conn := connect(t, pool)
		execute(t, conn, "BEGIN")
		token, err := pgbarrier.ParseToken(query[string](t, conn, "SELECT pgbarrier.create(announce => false)"))
		if err != nil {
			t.Fatal(err)
		}
		execute(t, conn, "PREPARE TRANSACTION 'listener "+end+token.String()+"'")
		sub := pending(t, l, token)
		execute(t, conn, end+" PREPARED 'listener "+end+token.String()+"'")
		wantEnd(t, sub, expected)
	}
}

func TestTheSameTokenHasTheSameOutcomeForAllAndAgain(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	listeners := []*listener.Listener{run(t, pool, listener.Config{}), run(t, pool, listener.Config{}), run(t, pool, listener.Config{PollOnly: true})}
	commits, aborts := begin(t, pool), begin(t, pool)
	good, bad := create(t, commits), create(t, aborts)
	var waits sync.WaitGroup
	for i := range 300 {
		l := listeners[i%len(listeners)]
		waits.Go(func() { wait(t, l, nil, good) })
		waits.Go(func() { wait(t, l, pgbarrier.ErrAborted, bad) })
		waits.Go(func() { wait(t, l, pgbarrier.ErrAborted, good, bad) })
	}
	commit(t, commits)
	rollback(t, aborts)
	waits.Wait()
	for _, l := range append(listeners, run(t, pool, listener.Config{})) {
		wait(t, l, nil, good, good)
		wait(t, l, pgbarrier.ErrAborted, good, bad)
	}
}
