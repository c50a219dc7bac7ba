package notify_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/notify"
)

// begun is a database whose only transaction is itself.
type begun struct {
	pgx.Tx // nil: nothing else is called
	made
	onCommit func()
}

func (b *begun) Begin(context.Context) (pgx.Tx, error) { return b, nil }
func (b *begun) Rollback(context.Context) error        { return pgx.ErrTxClosed }
func (b *begun) Commit(context.Context) error {
	b.onCommit()
	return nil
}
func (b *begun) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return b.made.QueryRow(ctx, sql, args...)
}

func TestWhatBeginFuncsFunctionHasLeftBehindGetsNoBarrierInCOMMIT(t *testing.T) {
	var left context.Context
	db := &begun{}
	db.onCommit = func() {
		if token, ok, err := notify.Current(left); !ok || !errors.Is(err, pgx.ErrTxClosed) || !token.IsZero() {
			t.Errorf("there is %v, %v, %v", token, ok, err)
		}
	}
	for _, needed := range []bool{true, false} {
		err := notify.BeginFunc(t.Context(), db, func(ctx context.Context, _ pgx.Tx) error {
			if left = ctx; needed {
				wantCurrent(t, ctx, tokenText(1))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if db.n != 1 {
		t.Errorf("%d barriers were made", db.n)
	}
}

// COMMIT needs the connection.
func TestBeginFuncWaitsForWhoeverIsMakingTheBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		making, made, committed := make(chan struct{}), make(chan struct{}), atomic.Bool{}
		db := &begun{onCommit: func() { committed.Store(true) }}
		db.meanwhile = func(context.Context, int) error { close(making); <-made; return nil }

		ended := make(chan error)
		go func() {
			ended <- notify.BeginFunc(t.Context(), db, func(ctx context.Context, _ pgx.Tx) error {
				go wantCurrent(t, ctx, tokenText(1))
				<-making
				return nil
			})
		}()
		synctest.Wait()
		if committed.Load() {
			t.Error("it committed while the barrier was being made")
		}
		close(made)
		if err := <-ended; err != nil || !committed.Load() {
			t.Errorf("it ended with %v", err)
		}
	})
}
