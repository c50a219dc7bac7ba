package notify

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
)

// WithTx returns a context whose messages share the fate of tx: [Current] and [Inject] give them the
// barrier of tx, which is made when the first of them needs it.
//
// A savepoint is a scope of its own, with a barrier of its own: call WithTx again, with the outer context and
// what tx.Begin returned, and use the inner context until the savepoint has ended. [BeginFunc] does that.
func WithTx(ctx context.Context, tx Tx, opts ...Option) context.Context {
	return open(ctx, newPgxScope(tx, opts))
}

// WithSQLTx is WithTx for database/sql, where a savepoint is not a transaction of its own. After one that
// you, gorm or bun have made, call WithSQLTx again, with the outer context and the same transaction, and use
// the inner context until RELEASE or ROLLBACK TO. Without that, its messages would be given the outer barrier, though the
// rows they speak of may be rolled back; and a barrier first made in it would be rolled back with it.
func WithSQLTx(ctx context.Context, tx SQLTx, opts ...Option) context.Context {
	return open(ctx, newSQLScope(tx, opts))
}

// WithCreate is WithSQLTx for whatever else runs [SQL] in a transaction, such as ent. create is called by
// one goroutine at a time, and not again after it has made the barrier; so that one is returned after
// the transaction's end too, which nothing tells.
func WithCreate(ctx context.Context, create func(context.Context) (pgbarrier.Token, error)) context.Context {
	return open(ctx, newScope(func(ctx context.Context) (pgbarrier.Token, error) {
		token, err := create(ctx)
		if err == nil {
			err = token.Valid()
		}
		if err != nil {
			return pgbarrier.Token{}, explain(err)
		}
		return token, nil
	}))
}

// BeginFunc is pgx.BeginFunc with a context from [WithTx] for fn: it begins a transaction on db, or makes a
// savepoint if db is a transaction, commits if fn returns nil, and rolls back otherwise. The context's
// barrier is not to be had any more when fn has returned. For other transaction options call WithTx in
// pgx.BeginTxFunc.
func BeginFunc(ctx context.Context, db interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}, fn func(ctx context.Context, tx pgx.Tx) error, opts ...Option) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		s := newPgxScope(tx, opts)
		defer s.close()
		return fn(open(ctx, s), tx)
	})
}

// Current returns the barrier of the context's transaction, and makes it if there is none yet. The
// bool reports whether the context has a transaction; if not, the token is zero and there is nothing to
// wait for.
//
// Any number of goroutines may call it at once, and get the same barrier; but while the first of them
// makes it, nobody else may use a pgx transaction. An error means that there is no barrier, and the next
// call tries again. After the transaction has ended it is an error (pgx.ErrTxClosed, sql.ErrTxDone),
// because what is sent then is not part of it.
//
// An outer context that has no barrier yet, used while the scope of a savepoint is open within, gets one
// for each call, which shares the savepoint's fate. Since database/sql does not tell when a savepoint has
// ended, it stays so there: for one barrier only, call Current before the savepoint.
func Current(ctx context.Context) (token pgbarrier.Token, ok bool, err error) {
	s := scopeOf(ctx)
	if s == nil {
		return pgbarrier.Token{}, false, nil
	}
	token, err = s.current(ctx)
	return token, true, err
}

type scopeKey struct{}

func scopeOf(ctx context.Context) *scope {
	s, _ := ctx.Value(scopeKey{}).(*scope)
	return s
}

// open puts s into ctx.
func open(ctx context.Context, s *scope) context.Context {
	if outer := scopeOf(ctx); outer != nil {
		outer.opened(s)
	}
	return context.WithValue(ctx, scopeKey{}, s)
}

// without is ctx outside of any transaction.
func without(ctx context.Context) context.Context {
	return context.WithValue(ctx, scopeKey{}, (*scope)(nil))
}

func newPgxScope(tx Tx, opts []Option) *scope {
	s := newScope(func(ctx context.Context) (pgbarrier.Token, error) { return Create(ctx, tx, opts...) })
	if isNil(tx) {
		return s
	}
	if tx, ok := tx.(interface{ Conn() *pgx.Conn }); ok {
		s.conn = tx.Conn
	}
	if tx, ok := tx.(interface {
		SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	}); ok {
		// pgx answers an empty batch by itself: by ErrTxClosed after the end.
		s.ask = func() error { return tx.SendBatch(context.Background(), &pgx.Batch{}).Close() }
	}
	return s
}

func newSQLScope(tx SQLTx, opts []Option) *scope {
	s := newScope(func(ctx context.Context) (pgbarrier.Token, error) { return CreateSQL(ctx, tx, opts...) })
	if isNil(tx) {
		return s
	}
	if tx, ok := tx.(interface {
		StmtContext(ctx context.Context, stmt *sql.Stmt) *sql.Stmt
	}); ok {
		// A statement of no database is refused without the server: by ErrTxDone after the end.
		s.ask = func() error { return tx.StmtContext(context.Background(), new(sql.Stmt)).Close() }
	}
	return s
}
