package integration_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// polling starts a wait and returns when it has checked at least once and goes on.
func polling(t *testing.T, ctx context.Context, pool *pgxpool.Pool, tokens ...pgbarrier.Token) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	asked := func() int {
		return query[int](t, pool, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'SELECT version, origin%'`)
	}
	before := asked()
	waiter := open(t, pool.Config().ConnString())
	go func() { done <- pgbarrier.Poll(ctx, waiter, tokens...) }()
	eventually(t, "the wait has checked", func() bool { return asked() > before })
	return done
}

func stillWaiting(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatalf("the wait has ended: %v", err)
	default:
	}
}

func TestAPollEndsWithTheTransaction(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	good, bad := begin(t, pool), begin(t, pool)
	goodToken, badToken := create(t, good), create(t, bad)
	goodDone, badDone := polling(t, t.Context(), pool, goodToken), polling(t, t.Context(), pool, badToken)
	stillWaiting(t, goodDone)
	stillWaiting(t, badDone)
	commit(t, good)
	rollback(t, bad)
	if err := <-goodDone; err != nil {
		t.Error(err)
	}
	err := <-badDone
	var tokenErr *pgbarrier.TokenError
	if !errors.As(err, &tokenErr) || tokenErr.Token != badToken || !errors.Is(err, pgbarrier.ErrAborted) {
		t.Errorf("the wait ended with %v", err)
	}
}

func TestAPollOfManyEndsWithTheLastCommitOrTheFirstAbort(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	first, second, never := begin(t, pool), begin(t, pool), begin(t, pool)
	firstToken, secondToken, neverToken := create(t, first), create(t, second), create(t, never)
	both := polling(t, t.Context(), pool, firstToken, secondToken, firstToken)
	mixed := polling(t, t.Context(), pool, neverToken, secondToken)
	commit(t, first)
	stillWaiting(t, both)
	rollback(t, second)
	for _, done := range []<-chan error{both, mixed} {
		var tokenErr *pgbarrier.TokenError
		if err := <-done; !errors.As(err, &tokenErr) || tokenErr.Token != secondToken {
			t.Errorf("the wait ended with %v", err)
		}
	}
}

func TestAPollsContextErrorComesAsItself(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := create(t, begin(t, pool))
	ctx, cancel := context.WithCancel(t.Context())
	done := polling(t, ctx, pool, token)
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("canceled: %v", err)
	}
	if err := pgbarrier.Poll(ctx, pool, token); err != context.Canceled {
		t.Errorf("canceled before: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := pgbarrier.Poll(ctx, pool, token); err != context.DeadlineExceeded {
		t.Errorf("deadline: %v", err)
	}
}

func TestAPollThatCannotEndIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := create(t, begin(t, pool))
	wantErr(t, "no tokens", pgbarrier.Poll(t.Context(), pool), pgbarrier.ErrInvalidToken)
	wantErr(t, "zero token", pgbarrier.Poll(t.Context(), pool, token, pgbarrier.Token{}), pgbarrier.ErrInvalidToken)
	for _, poller := range []pgbarrier.Poller{{MinDelay: -1}, {MaxDelay: -1}} {
		if err := poller.Wait(t.Context(), pool, token); err == nil || !strings.Contains(err.Error(), "cannot be negative") {
			t.Errorf("%+v: %v", poller, err)
		}
	}
	closed := open(t, pool.Config().ConnString())
	closed.Close()
	if err := pgbarrier.Poll(t.Context(), closed, token); err == nil || !strings.Contains(err.Error(), "closed pool") {
		t.Errorf("closed pool: %v", err)
	}
	conn := connect(t, pool)
	_ = conn.Close(t.Context())
	if err := pgbarrier.Poll(t.Context(), conn, token); err == nil {
		t.Error("a wait on a closed connection ended well")
	}
	nobody := as(t, pool, newRole(t, pool))
	if err := pgbarrier.Poll(t.Context(), nobody, token); err == nil || !strings.Contains(err.Error(), "lacks a grant") {
		t.Errorf("no grant: %v", err)
	}
}

// A session that is killed under the wait is replaced by the pool.
func TestAPollOutlivesItsSession(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	token := create(t, tx)
	done := polling(t, t.Context(), pool, token)
	for range 5 {
		execute(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'SELECT version, origin%'`)
		stillWaiting(t, done)
	}
	commit(t, tx)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A server that cannot be reached is waited for, also if it never was.
func TestAPollWaitsForAServerThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // a port that nobody listens on
	pool := open(t, "postgres://postgres@"+l.Addr().String()+"/postgres?sslmode=disable")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	token := pgbarrier.Token{ID: [16]byte{6: 0x70, 8: 0x80}, XID: 3}
	err = pgbarrier.Poll(ctx, pool, token)
	wantErr(t, "Poll", err, context.DeadlineExceeded)
	if !strings.Contains(err.Error(), "refused") {
		t.Errorf("%q does not tell why", err)
	}
}

func TestADelayLongerThanTheLongestIsCutShort(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	token := create(t, tx)
	done := make(chan error, 1)
	go func() {
		done <- pgbarrier.Poller{MinDelay: time.Hour, MaxDelay: time.Millisecond}.Wait(t.Context(), pool, token)
	}()
	eventually(t, "the wait has checked", func() bool {
		return query[int](t, pool, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT version, origin%' AND pid <> pg_backend_pid()") > 0
	})
	commit(t, tx)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
