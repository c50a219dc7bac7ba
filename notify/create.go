package notify

import (
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

// SQLTx is an open database/sql transaction: *sql.Tx and what embeds one (sqlx, bun). With gorm,
// pass tx.Statement.ConnPool.(*sql.Tx). Any driver will do.
type SQLTx interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	Commit() error
}

// Option changes how a barrier is created.
type Option func(*options)

type options struct{ unannounced bool }

// WithoutAnnouncement switches announcing off for the whole transaction, as PREPARE TRANSACTION
// requires. Waits then end by the listeners' fallback check.
func WithoutAnnouncement() Option { return func(o *options) { o.unannounced = true } }

const doing = "create a barrier"

// Create makes a barrier in tx and returns its token. The barrier is as good as the transaction: on
// an error nothing was created, and tx has failed as after any other failed statement.
func Create(ctx context.Context, tx Tx, opts ...Option) (pgbarrier.Token, error) {
	if isNil(tx) {
		return pgbarrier.Token{}, errNilTx
	}
	return scan(tx.QueryRow(ctx, statement(opts)))
}

// CreateSQL is Create for database/sql.
func CreateSQL(ctx context.Context, tx SQLTx, opts ...Option) (pgbarrier.Token, error) {
	if isNil(tx) {
		return pgbarrier.Token{}, errNilTx
	}
	return scan(tx.QueryRowContext(ctx, statement(opts)))
}

// Queue appends the creation of a barrier to b, which costs no round trip of its own. Send b in the
// transaction: tx.SendBatch(ctx, b).Close(). token is set when the batch's result is read, which
// Close does; if that fails, token is left as it was, and a zero token cannot be put into a message.
// It panics if b or token is nil.
func Queue(b *pgx.Batch, token *pgbarrier.Token, opts ...Option) {
	if b == nil || token == nil {
		panic("pgbarrier: notify.Queue: the batch or the token is nil")
	}
	b.Queue(statement(opts)).QueryRow(func(row pgx.Row) error {
		created, err := scan(row)
		if err == nil {
			*token = created
		}
		return err
	})
}

// statement takes no arguments, so that it means the same to every driver and protocol.
func statement(opts []Option) string {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if o.unannounced {
		return "SELECT pgbarrier.create(announce => false)"
	}
	return "SELECT pgbarrier.create()"
}

func scan(row interface{ Scan(dest ...any) error }) (pgbarrier.Token, error) {
	var token pgbarrier.Token
	if err := row.Scan(&token); errors.Is(err, pgx.ErrTxClosed) || errors.Is(err, sql.ErrTxDone) {
		return pgbarrier.Token{}, fmt.Errorf("pgbarrier: %s: the transaction has ended, create the barrier before COMMIT: %w", doing, err)
	} else if err != nil {
		return pgbarrier.Token{}, wire.Explain(doing, err)
	}
	return token, nil
}

var errNilTx = errors.New("pgbarrier: " + doing + ": the transaction is nil: begin one first")

func isNil(tx any) bool {
	v := reflect.ValueOf(tx)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}
