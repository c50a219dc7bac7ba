package notify_test

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// publish is far from the transaction, and needs to know nothing about it.
func publish(ctx context.Context, header http.Header) error {
	if err := notify.Inject(ctx, header); err != nil {
		return err // and do not send the message
	}
	return nil // here it is sent
}

func ExampleBeginFunc() {
	ctx := context.Background()
	var pool *pgxpool.Pool // from pgxpool.New

	err := notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders (id) VALUES (7)"); err != nil {
			return err
		}
		// A savepoint has a barrier of its own: if this fails, its messages are dropped.
		if err := notify.BeginFunc(ctx, tx, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO gifts (id) VALUES (7)"); err != nil {
				return err
			}
			return publish(ctx, http.Header{"Work": {"wrap gift 7"}})
		}); err != nil {
			fmt.Println("no gift:", err)
		}
		return publish(ctx, http.Header{"Work": {"ship order 7"}})
	})
	fmt.Println(err)
}

func ExampleWithTx() {
	ctx := context.Background()
	var pool *pgxpool.Pool // from pgxpool.New

	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
		ctx := notify.WithTx(ctx, tx)
		if _, err := tx.Exec(ctx, "INSERT INTO orders (id) VALUES (7)"); err != nil {
			return err
		}
		return publish(ctx, http.Header{"Work": {"ship order 7"}})
	})
	fmt.Println(err)
}

// The same for sqlx, bun, and gorm with tx.Statement.ConnPool.(notify.SQLTx).
func ExampleWithSQLTx() {
	ctx := context.Background()
	var db *sql.DB // any driver

	err := func() error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing after Commit
		ctx := notify.WithSQLTx(ctx, tx)

		if _, err := tx.ExecContext(ctx, "SAVEPOINT gift"); err != nil {
			return err
		}
		inner := notify.WithSQLTx(ctx, tx) // of the savepoint, until it ends
		if err := publish(inner, http.Header{"Work": {"wrap gift 7"}}); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "RELEASE SAVEPOINT gift"); err != nil {
			return err
		}

		if err := publish(ctx, http.Header{"Work": {"ship order 7"}}); err != nil {
			return err
		}
		return tx.Commit()
	}()
	fmt.Println(err)
}

// ent's transactions have QueryContext (with the feature sql/execquery), and no QueryRowContext.
func ExampleWithCreate() {
	type entTx interface {
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
	ctx := context.Background()
	var tx entTx // from client.Tx

	ctx = notify.WithCreate(ctx, func(ctx context.Context) (token pgbarrier.Token, err error) {
		rows, err := tx.QueryContext(ctx, notify.SQL())
		if err != nil {
			return token, err
		}
		defer rows.Close()
		if rows.Next() {
			err = rows.Scan(&token)
		}
		return token, cmp.Or(err, rows.Err())
	})
	fmt.Println(publish(ctx, http.Header{"Work": {"ship order 7"}}))
}

// For a message that has a field for the barrier in place of headers.
func ExampleCurrent() {
	ctx := context.Background() // from WithTx, WithSQLTx or BeginFunc

	barrier, ok, err := notify.Current(ctx)
	switch {
	case err != nil:
		fmt.Println(err)
	case !ok:
		fmt.Println("not in a transaction: there is nothing to wait for")
	default:
		fmt.Println(message{Order: 7, Barrier: barrier})
	}
	// Output: not in a transaction: there is nothing to wait for
}

func ExampleInject() {
	ctx := context.Background() // from WithTx, WithSQLTx or BeginFunc
	header := http.Header{"Work": {"ship order 7"}}

	if err := notify.Inject(ctx, header); err != nil {
		fmt.Println(err) // and do not send the message
	}
	fmt.Println(header[http.CanonicalHeaderKey(notify.Header)]) // outside of a transaction: none
	// Output: []
}
