package notify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// made is a transaction whose every barrier is another one, made after meanwhile has returned.
type made struct {
	n         int // how many were asked for
	meanwhile func(ctx context.Context, n int) error
}

func (m *made) Commit(context.Context) error { return nil }
func (m *made) QueryRow(ctx context.Context, _ string, _ ...any) pgx.Row {
	m.n++
	a := &answer{text: tokenText(m.n)}
	if m.meanwhile != nil {
		a.err = m.meanwhile(ctx, m.n)
	}
	return a
}

func tokenText(n int) string {
	return fmt.Sprintf("pgb1.01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b.%d.0a1b2c3d", n)
}

func wantCurrent(t *testing.T, ctx context.Context, want string) {
	t.Helper()
	if token, ok, err := notify.Current(ctx); token.String() != want || !ok || err != nil {
		t.Errorf("the barrier is %v, %v, %v, want %s", token, ok, err, want)
	}
}

func TestOutsideOfATransactionThereIsNoBarrier(t *testing.T) {
	if token, ok, err := notify.Current(t.Context()); ok || err != nil || !token.IsZero() {
		t.Errorf("there is %v, %v, %v", token, ok, err)
	}
}

func TestATransactionHasOneBarrierMadeByWhoeverNeedsItFirst(t *testing.T) {
	tx := &made{}
	ctx := notify.WithTx(t.Context(), tx)
	if tx.n != 0 {
		t.Error("a barrier was made before anybody needed it")
	}
	var senders sync.WaitGroup
	for range 20 {
		senders.Go(func() { wantCurrent(t, ctx, tokenText(1)) })
	}
	senders.Wait()
	if tx.n != 1 {
		t.Errorf("%d barriers were made", tx.n)
	}
	wantCurrent(t, notify.WithTx(ctx, tx), tokenText(2)) // a scope of its own
	wantCurrent(t, ctx, tokenText(1))
}

func TestABarrierThatCouldNotBeMadeIsTriedAgain(t *testing.T) {
	broken := errors.New("the statement was refused")
	tx := &made{meanwhile: func(_ context.Context, n int) error {
		if n == 1 {
			return broken
		}
		return nil
	}}
	ctx := notify.WithTx(t.Context(), tx)
	if token, ok, err := notify.Current(ctx); !ok || !errors.Is(err, broken) || !token.IsZero() {
		t.Errorf("there is %v, %v, %v", token, ok, err)
	}
	wantCurrent(t, ctx, tokenText(2))
	wantCurrent(t, ctx, tokenText(2))
}

func TestWhoeverWaitsForAnothersBarrierIsReleasedByTheirOwnContext(t *testing.T) {
	making, made1 := make(chan struct{}), make(chan struct{})
	tx := &made{meanwhile: func(context.Context, int) error { close(making); <-made1; return nil }}
	ctx := notify.WithTx(t.Context(), tx)
	var first sync.WaitGroup
	first.Go(func() { wantCurrent(t, ctx, tokenText(1)) })
	<-making

	impatient, cancel := context.WithCancel(ctx)
	second := make(chan error)
	go func() { _, _, err := notify.Current(impatient); second <- err }()
	cancel()
	if err := <-second; err != context.Canceled {
		t.Errorf("the error is %v", err)
	}
	close(made1)
	first.Wait()
	if _, _, err := notify.Current(impatient); err != context.Canceled {
		t.Errorf("the error is %v", err)
	}
}

// As a tracer may that puts the barrier into every statement.
func TestAHookThatInjectsIntoOurOwnStatementDoesNotWaitForIt(t *testing.T) {
	tx := &made{meanwhile: func(ctx context.Context, _ int) error {
		carrier := carrier{}
		if err := notify.Inject(ctx, carrier); err != nil || len(carrier) != 0 {
			t.Errorf("the statement carries %v, %v", carrier, err)
		}
		return nil
	}}
	wantCurrent(t, notify.WithTx(t.Context(), tx), tokenText(1))
}

func TestTheContextOfANilTransactionHasNoBarrierButAnError(t *testing.T) {
	for name, ctx := range map[string]context.Context{
		"pgx": notify.WithTx(t.Context(), nil),
		"sql": notify.WithSQLTx(t.Context(), (*embedsTx)(nil)),
	} {
		if token, ok, err := notify.Current(ctx); err == nil || !strings.Contains(err.Error(), "the transaction is nil") || !ok || !token.IsZero() {
			t.Errorf("%s: there is %v, %v, %v", name, token, ok, err)
		}
	}
}

func TestWithCreateTakesNoZeroTokenForABarrier(t *testing.T) {
	n := 0
	ctx := notify.WithCreate(t.Context(), func(context.Context) (pgbarrier.Token, error) {
		if n++; n == 1 {
			return pgbarrier.Token{}, nil
		}
		return pgbarrier.ParseToken(tokenText(n))
	})
	if _, ok, err := notify.Current(ctx); !ok || !errors.Is(err, pgbarrier.ErrInvalidToken) {
		t.Errorf("there is %v, %v", ok, err)
	}
	wantCurrent(t, ctx, tokenText(2))
	wantCurrent(t, ctx, tokenText(2))
}

// Nothing tells here whether the savepoint is still open.
func TestABarrierMadeAfterASavepointOfUnknownEndIsNotKept(t *testing.T) {
	tx := &made{}
	outer := notify.WithTx(t.Context(), tx)
	inner := notify.WithTx(outer, tx)
	wantCurrent(t, inner, tokenText(1))
	wantCurrent(t, outer, tokenText(2))
	wantCurrent(t, outer, tokenText(3))
	wantCurrent(t, inner, tokenText(1))

	before := notify.WithTx(t.Context(), tx)
	wantCurrent(t, before, tokenText(4))
	notify.WithTx(before, tx)
	wantCurrent(t, before, tokenText(4)) // it is the outer scope's for certain
}
