package integration_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// current returns the barrier of ctx's transaction.
func current(t testing.TB, ctx context.Context) pgbarrier.Token {
	t.Helper()
	token, ok, err := notify.Current(ctx)
	if err != nil || !ok {
		t.Fatalf("the context's barrier: %v, %v", ok, err)
	}
	return token
}

// wantNone fails the test unless the context's barrier cannot be had for want of a transaction.
func wantNone(t testing.TB, ctx context.Context, expected error) {
	t.Helper()
	token, ok, err := notify.Current(ctx)
	if !ok || !errors.Is(err, expected) || !token.IsZero() {
		t.Errorf("the context's barrier: %v, %v, %v, want %v", token, ok, err, expected)
	}
	header := http.Header{}
	if err := notify.Inject(ctx, header); !errors.Is(err, expected) || len(header) > 0 {
		t.Errorf("injected %v, %v, want %v", header, err, expected)
	}
}

var errUndo = errors.New("undo")

// undo fails with errUndo unless it was to succeed.
func undo(unless bool) error {
	if unless {
		return nil
	}
	return errUndo
}

func TestTheContextsBarrierSharesTheFateOfItsTransaction(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for status, end := range map[pgbarrier.Status]func(*testing.T, pgx.Tx){
		pgbarrier.Committed: func(t *testing.T, tx pgx.Tx) { commit(t, tx) },
		pgbarrier.Aborted:   func(t *testing.T, tx pgx.Tx) { rollback(t, tx) },
	} {
		tx := begin(t, pool)
		ctx := notify.WithTx(t.Context(), tx)
		token := current(t, ctx)
		if again := current(t, ctx); again != token {
			t.Errorf("a second call returned %v, after %v", again, token)
		}
		want(t, pool, pgbarrier.Pending, token)
		end(t, tx)
		wantNone(t, ctx, pgx.ErrTxClosed)
		want(t, pool, status, token)
	}
}

func TestNoRoundTripIsMadeForABarrierThatIsThere(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	conn, trace := connectCounting(t, pool)
	tx := begin(t, conn)
	ctx := notify.WithTx(t.Context(), tx)
	before := trace.flushes.Load()
	notify.WithTx(ctx, tx)
	if made := trace.flushes.Load() - before; made != 0 {
		t.Errorf("a context cost %d writes", made)
	}
	ctx = notify.WithTx(t.Context(), tx)
	current(t, ctx)
	before = trace.flushes.Load()
	for range 10 {
		current(t, ctx)
	}
	if made := trace.flushes.Load() - before; made != 0 {
		t.Errorf("asking again cost %d writes", made)
	}
}

func TestGoroutinesThatSendAtOnceShareOneBarrier(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	var token pgbarrier.Token
	err := notify.BeginFunc(t.Context(), pool, func(ctx context.Context, _ pgx.Tx) error {
		tokens := make([]pgbarrier.Token, 16)
		var senders sync.WaitGroup
		for i := range tokens {
			senders.Go(func() { tokens[i], _, _ = notify.Current(ctx) })
		}
		senders.Wait()
		token = tokens[0]
		for _, other := range tokens {
			if other != token || token.IsZero() {
				t.Errorf("the barriers are %v", tokens)
				break
			}
		}
		return nil
	})
	wantErr(t, "BeginFunc", err, nil)
	want(t, pool, pgbarrier.Committed, token)
	if n := countBarriers(t, pool); n != 1 {
		t.Errorf("there are %d barriers", n)
	}
}

func TestBeginFuncGivesEachLevelABarrierOfItsOwnFate(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for _, outerCommits := range []bool{true, false} {
		for _, innerCommits := range []bool{true, false} {
			for _, outerFirst := range []bool{true, false} {
				var outer, inner, innermost pgbarrier.Token
				var leftInner, leftOuter context.Context
				err := notify.BeginFunc(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
					leftOuter = ctx
					if outerFirst {
						outer = current(t, ctx)
					}
					err := notify.BeginFunc(ctx, tx, func(ctx context.Context, tx pgx.Tx) error {
						leftInner = ctx
						inner = current(t, ctx)
						err := notify.BeginFunc(ctx, tx, func(ctx context.Context, tx pgx.Tx) error {
							innermost = current(t, ctx)
							return nil
						})
						wantErr(t, "innermost", err, nil)
						if again := current(t, ctx); again != inner {
							t.Errorf("after a savepoint the barrier is %v, not %v", again, inner)
						}
						return undo(innerCommits)
					})
					wantErr(t, "inner", err, undo(innerCommits))
					wantNone(t, leftInner, pgx.ErrTxClosed)
					if got := current(t, ctx); outerFirst && got != outer {
						t.Errorf("after a savepoint the barrier is %v, not %v", got, outer)
					} else if outer = got; current(t, ctx) != outer {
						t.Error("after a savepoint the barrier is not kept")
					}
					return undo(outerCommits)
				})
				wantErr(t, "outer", err, undo(outerCommits))
				wantNone(t, leftOuter, pgx.ErrTxClosed)

				if outer == inner || inner == innermost || outer == innermost {
					t.Errorf("levels share barriers: %v, %v, %v", outer, inner, innermost)
				}
				fate := map[bool]pgbarrier.Status{true: pgbarrier.Committed, false: pgbarrier.Aborted}
				want(t, pool, fate[outerCommits], outer)
				want(t, pool, fate[outerCommits && innerCommits], inner, innermost)
			}
		}
	}
}

// Before it has a barrier, the outer context can only be given one inside of the savepoint.
func TestARolledBackSavepointLeavesNoDeadBarrierToTheOuterContext(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for _, released := range []bool{true, false} {
		var within, inner, after pgbarrier.Token
		err := notify.BeginFunc(t.Context(), pool, func(outer context.Context, tx pgx.Tx) error {
			err := notify.BeginFunc(outer, tx, func(ctx context.Context, _ pgx.Tx) error {
				within, inner = current(t, outer), current(t, ctx)
				return undo(released)
			})
			wantErr(t, "the savepoint", err, undo(released))
			after = current(t, outer)
			if current(t, outer) != after {
				t.Error("after the savepoint the barrier is not kept")
			}
			return nil
		})
		wantErr(t, "the transaction", err, nil)
		want(t, pool, pgbarrier.Committed, after)
		want(t, pool, map[bool]pgbarrier.Status{true: pgbarrier.Committed, false: pgbarrier.Aborted}[released], within, inner)
	}
}

func TestASavepointOfPgxOpenedByHandIsAScopeToo(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	outer := notify.WithTx(t.Context(), tx)
	savepoint, err := tx.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	inner := notify.WithTx(outer, savepoint)
	lost := []pgbarrier.Token{current(t, inner), current(t, outer)}
	if current(t, inner) != lost[0] {
		t.Error("the savepoint's barrier is not kept")
	}
	rollback(t, savepoint)
	wantNone(t, inner, pgx.ErrTxClosed)
	token := current(t, outer)
	if current(t, outer) != token {
		t.Error("after the savepoint the barrier is not kept")
	}
	commit(t, tx)
	want(t, pool, pgbarrier.Aborted, lost...)
	want(t, pool, pgbarrier.Committed, token)
}

// Of which nobody knows when it ends, so that the outer barriers are made anew.
func TestASavepointMadeInSQLIsAScopeOfTheSameTransaction(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	outer := notify.WithTx(t.Context(), tx)
	execute(t, tx, "SAVEPOINT s")
	lost := []pgbarrier.Token{current(t, notify.WithTx(outer, tx)), current(t, outer)}
	execute(t, tx, "ROLLBACK TO SAVEPOINT s")
	kept := []pgbarrier.Token{current(t, outer), current(t, outer), current(t, notify.WithTx(outer, tx))}
	commit(t, tx)
	want(t, pool, pgbarrier.Aborted, lost...)
	want(t, pool, pgbarrier.Committed, kept...)
}

func TestATransactionBegunInsideOfAnotherIsItsOwn(t *testing.T) {
	t.Parallel()
	pool, other := migratedDatabase(t), migratedDatabase(t)
	var outer, inner pgbarrier.Token
	err := notify.BeginFunc(t.Context(), pool, func(ctx context.Context, _ pgx.Tx) error {
		release := make(chan struct{})
		var elsewhere sync.WaitGroup
		elsewhere.Go(func() { // at once, which the race detector watches
			err := notify.BeginFunc(ctx, other, func(ctx context.Context, _ pgx.Tx) error {
				inner = current(t, ctx)
				<-release
				return nil
			})
			wantErr(t, "the other transaction", err, nil)
		})
		outer = current(t, ctx)
		close(release)
		if current(t, ctx) != outer {
			t.Error("the barrier is not kept")
		}
		elsewhere.Wait()
		return errUndo
	})
	wantErr(t, "BeginFunc", err, errUndo)
	want(t, pool, pgbarrier.Aborted, outer)
	want(t, other, pgbarrier.Committed, inner)
}

func TestATransactionThatIsUsableAgainAfterAnErrorGetsItsBarrier(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	ctx := notify.WithTx(t.Context(), tx)
	execute(t, tx, "SAVEPOINT s")
	if _, err := tx.Exec(t.Context(), "SELECT 1/0"); err == nil {
		t.Fatal("that went well")
	}
	if token, ok, err := notify.Current(ctx); err == nil || !ok || !token.IsZero() {
		t.Errorf("a failed transaction made %v, %v, %v", token, ok, err)
	}
	execute(t, tx, "ROLLBACK TO SAVEPOINT s")
	token := current(t, ctx)
	commit(t, tx)
	want(t, pool, pgbarrier.Committed, token)
}

// A goroutine that fn has left behind finds that it is too late, and does not disturb COMMIT.
func TestAfterBeginFuncsFunctionThereIsNoBarrier(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	var token pgbarrier.Token
	var late sync.WaitGroup
	err := notify.BeginFunc(t.Context(), pool, func(ctx context.Context, _ pgx.Tx) error {
		token = current(t, ctx)
		returned := make(chan struct{})
		late.Go(func() {
			<-returned
			for {
				if _, _, err := notify.Current(ctx); err != nil {
					wantErr(t, "late", err, pgx.ErrTxClosed)
					return
				}
			}
		})
		close(returned)
		return nil
	})
	wantErr(t, "BeginFunc", err, nil)
	late.Wait()
	want(t, pool, pgbarrier.Committed, token)

	var left context.Context
	func() {
		defer func() { _ = recover() }()
		_ = notify.BeginFunc(t.Context(), pool, func(ctx context.Context, _ pgx.Tx) error {
			left, token = ctx, current(t, ctx)
			panic("in the transaction")
		})
	}()
	wantNone(t, left, pgx.ErrTxClosed)
	want(t, pool, pgbarrier.Aborted, token)
}

func TestTheContextsBarrierIsUnannouncedIfAskedFor(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	listener := listen(t, pool)
	var token pgbarrier.Token
	for range 2 {
		err := notify.BeginFunc(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
			token = current(t, ctx)
			return nil
		}, notify.WithoutAnnouncement())
		wantErr(t, "BeginFunc", err, nil)
		want(t, pool, pgbarrier.Committed, token)
	}
	tx := begin(t, pool)
	token = current(t, notify.WithTx(t.Context(), tx, notify.WithoutAnnouncement()))
	commit(t, tx)
	wantHeard(t, pool, listener)
}
