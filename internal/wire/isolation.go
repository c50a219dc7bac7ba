package wire

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// A statement that stands alone has the isolation level that is its session's default. In SERIALIZABLE it would be
// a reader between the producers' transactions, which can make one of their COMMITs fail; in REPEATABLE READ
// that is read-only its snapshot could date from before a promotion.

// unlessSerializable keeps a statement from reading, and so from taking predicate locks. A function that raises an
// error cannot be relied on for that: it does not know whether its statement stands alone.
const unlessSerializable = " WHERE pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.<>) 'serializable'" // breakage: SERIALIZABLE by default

type beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// ReadCommitted are the options of a transaction that has it whatever the session's default.
var ReadCommitted = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}

// InOneTransaction calls do with what sends statements in one transaction: with db if it is in one, or with a
// transaction of its own.
func InOneTransaction[D DB](ctx context.Context, db D, options pgx.TxOptions, do func(D) error) error {
	if InTransaction(db) {
		return do(db)
	}
	return pgx.BeginTxFunc(ctx, any(db).(beginner), options, func(tx pgx.Tx) error { return do(any(tx).(D)) })
}

// needsReadCommitted reports whether a statement that stood alone has no answer because of its isolation level.
func needsReadCommitted(err error) bool {
	state := SQLState(err)
	return errors.Is(err, pgx.ErrNoRows) || state == InvalidTransactionState || state == FeatureNotSupported
}

// InTransaction reports whether the next statement will belong to the same transaction.
func InTransaction(db DB) bool {
	_, begins := db.(beginner)
	if conn := OneConn(db); conn != nil {
		return !begins || conn.PgConn().TxStatus() != 'I'
	}
	return !begins
}

// OneConn returns the connection that db always uses, or nil.
func OneConn(db DB) *pgx.Conn {
	if of, wrapped := db.(interface{ Conn() *pgx.Conn }); wrapped { // pgx.Tx, *pgxpool.Conn
		return of.Conn()
	}
	conn, _ := db.(*pgx.Conn)
	return conn
}
