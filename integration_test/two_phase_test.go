package integration_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// prepare returns the token of a transaction that was prepared under the name.
func prepare(t testing.TB, pool *pgxpool.Pool, name string) pgbarrier.Token {
	t.Helper()
	conn := connect(t, pool)
	execute(t, conn, "BEGIN")
	token := query[pgbarrier.Token](t, conn, "SELECT pgbarrier.create(announce => false)")
	execute(t, conn, "PREPARE TRANSACTION '"+name+"'")
	return token
}

// Nobody ends it before the worker's context does. That is no outcome, and the one that comes later
// is right.
func TestAWaitForAForgottenPreparedTransactionEndsWithItsContextAndIsRightLater(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	name := pool.Config().ConnConfig.Database // prepared transactions share a name space
	l := run(t, pool, listener.Config{})
	waits := map[string]func(context.Context, pgbarrier.Token) error{
		"listener": func(ctx context.Context, token pgbarrier.Token) error { return l.Wait(ctx, token) },
		"poll":     func(ctx context.Context, token pgbarrier.Token) error { return pgbarrier.Poll(ctx, pool, token) },
	}
	good, bad := prepare(t, pool, name+"good"), prepare(t, pool, name+"bad")
	for who, wait := range waits {
		for _, token := range []pgbarrier.Token{good, bad} {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if err := wait(ctx, token); err != context.DeadlineExceeded {
				t.Errorf("%s: a wait past its deadline ended with %v", who, err)
			}
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
			cancel()
			if err := wait(ctx, token); err != context.Canceled {
				t.Errorf("%s: a cancelled wait ended with %v", who, err)
			}
		}
	}
	if stats := l.Stats(); stats.Waiting != 0 || stats.Pending != 0 {
		t.Errorf("left behind: %+v", stats)
	}
	execute(t, pool, "COMMIT PREPARED '"+name+"good'")
	execute(t, pool, "ROLLBACK PREPARED '"+name+"bad'")
	for who, wait := range waits {
		wantErr(t, who, wait(t.Context(), good), nil)
		wantErr(t, who, wait(t.Context(), bad), pgbarrier.ErrAborted)
	}
}
