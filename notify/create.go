package notify

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// Tx is an open pgx transaction: pgx.Tx, *pgxpool.Tx. It asks for Commit so that a pool or a
// connection, on which the barrier would commit at once, does not compile.
type Tx interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Commit(ctx context.Context) error
}

// SQLTx is an open database/sql transaction of any driver: *sql.Tx and what embeds one (sqlx, bun).
// With gorm, PrepareStmt or not, pass tx.Statement.ConnPool.(notify.SQLTx). Where there is a QueryContext
// as well, that is called: gorm's QueryRowContext keeps to itself why a statement was refused.
type SQLTx interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	Commit() error
}

// Option changes how a barrier is created.
type Option func(*options)

type options struct{ unannounced bool }

// WithoutAnnouncement switches announcing off for the whole transaction, barriers that it has already
// made included. Waits then end by the listeners' check.
//
// It is a setting local to the transaction, made together with the barrier, and ROLLBACK TO SAVEPOINT undoes
// both (https://www.postgresql.org/docs/current/sql-set.html). So where the barrier was made after a savepoint
// that is rolled back, the transaction's other barriers are announced again: pass the option to all of
// them.
//
// With schema version 1, PREPARE TRANSACTION needs it, since PostgreSQL refuses to prepare a transaction that
// has notified. Later versions announce at COMMIT alone.
func WithoutAnnouncement() Option { return func(o *options) { o.unannounced = true } }

const doing = "create a barrier"

// Create makes a barrier in tx and returns its token. The barrier is as good as the transaction: on
// an error nothing was created, and tx has failed as after any other failed statement.
func Create(ctx context.Context, tx Tx, opts ...Option) (pgbarrier.Token, error) {
	if isNil(tx) {
		return pgbarrier.Token{}, errNilTx
	}
	return scan(tx.QueryRow(ctx, SQL(opts...)))
}

// CreateSQL is Create for database/sql.
func CreateSQL(ctx context.Context, tx SQLTx, opts ...Option) (pgbarrier.Token, error) {
	if isNil(tx) {
		return pgbarrier.Token{}, errNilTx
	}
	if tx, ok := tx.(interface {
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}); ok {
		rows, err := tx.QueryContext(ctx, SQL(opts...))
		return scan(onlyRow{rows, err})
	}
	return scan(tx.QueryRowContext(ctx, SQL(opts...)))
}

// Queue appends the creation of a barrier to b, which costs no round trip of its own. Send b in the
// transaction: tx.SendBatch(ctx, b).Close(). token is set when the batch's result is read, which
// Close does; if that fails, token is left as it was, and a zero token cannot be put into a message.
// It panics if b or token is nil.
func Queue(b *pgx.Batch, token *pgbarrier.Token, opts ...Option) {
	if b == nil || token == nil {
		panic("pgbarrier: notify.Queue: the batch or the token is nil")
	}
	b.Queue(SQL(opts...)).QueryRow(func(row pgx.Row) error {
		created, err := scan(row)
		if err == nil {
			*token = created
		}
		return err
	})
}

// SQL returns the statement that makes a barrier, for whatever runs SQL in a transaction without being a
// [Tx] or [SQLTx]: sqlc's DBTX, bun's IDB, ent, raw queries. It takes no arguments, returns one row of
// one column, never null, and [pgbarrier.Token] scans itself:
//
//	err := db.QueryRow(ctx, notify.SQL()).Scan(&token)
//
// No compiler looks after this one: outside of a transaction the barrier commits at once.
func SQL(opts ...Option) string {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if o.unannounced {
		return "SELECT pgbarrier.create(announce => false)"
	}
	return "SELECT pgbarrier.create()"
}

type row interface{ Scan(dest ...any) error }

func scan(r row) (pgbarrier.Token, error) {
	if sqlRow, ok := r.(*sql.Row); isNil(r) || ok && *sqlRow == (sql.Row{}) { // to scan it would panic
		return pgbarrier.Token{}, explain(errNoRow)
	}
	var token pgbarrier.Token
	if err := r.Scan(&token); err != nil {
		return pgbarrier.Token{}, explain(err)
	}
	return token, nil
}

// onlyRow is to sql.Rows what sql.Row is.
type onlyRow struct {
	rows *sql.Rows
	err  error
}

func (r onlyRow) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	if r.rows == nil {
		return errNoRow
	}
	defer func() { _ = r.rows.Close() }() // after a row its error is returned below

	if !r.rows.Next() {
		return cmp.Or(r.rows.Err(), sql.ErrNoRows)
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	return r.rows.Close()
}

var (
	errNilTx = errors.New("pgbarrier: " + doing + ": the transaction is nil: begin one first")
	errNoRow = errors.New("the transaction returned neither a row nor an error")
)

func explain(err error) error {
	if hasEnded(err) {
		return fmt.Errorf("pgbarrier: %s: the transaction has ended, create the barrier before COMMIT: %w", doing, err)
	}
	return wire.Explain(doing, err)
}

func hasEnded(err error) bool {
	return errors.Is(err, pgx.ErrTxClosed) || errors.Is(err, sql.ErrTxDone)
}

func isNil(value any) bool {
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Chan, reflect.Func, reflect.Map, reflect.Pointer, reflect.Slice:
		return v.IsNil()
	default:
		return false
	}
}
