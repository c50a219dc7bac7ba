package datalayers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// generatedTx has the shape of the transaction that ent generates with the feature sql/execquery, on ent's driver.
type generatedTx struct{ tx dialect.Tx }

func (tx *generatedTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ex, ok := tx.tx.(interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
	})
	if !ok {
		return nil, fmt.Errorf("Tx.ExecContext is not supported")
	}
	return ex.ExecContext(ctx, query, args...)
}

func (tx *generatedTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	q, ok := tx.tx.(interface {
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	})
	if !ok {
		return nil, fmt.Errorf("Tx.QueryContext is not supported")
	}
	return q.QueryContext(ctx, query, args...)
}

// insert is what client.Order.Create().SetID(id).Save(ctx) does.
func (tx *generatedTx) insert(ctx context.Context, id int) error {
	query, args := entsql.Dialect(dialect.Postgres).Insert("orders").Columns("id").Values(id).Query()
	return tx.tx.Exec(ctx, query, args, nil)
}

// createBarrier is what an application with ent writes once.
func createBarrier(ctx context.Context, tx *generatedTx) (token pgbarrier.Token, err error) {
	rows, err := tx.QueryContext(ctx, notify.SQL())
	if err != nil {
		return token, err
	}
	defer rows.Close()
	err = entsql.ScanOne(rows, &token)
	return token, err
}

func entLayer(t *testing.T, url string) layer {
	driver := entsql.OpenDB(dialect.Postgres, openDB(t, "pgx", url))
	var in func(ctx context.Context, tx *generatedTx) transaction
	in = func(ctx context.Context, tx *generatedTx) transaction {
		ctx = notify.WithCreate(ctx, func(ctx context.Context) (pgbarrier.Token, error) { return createBarrier(ctx, tx) })
		return transaction{
			ctx:    ctx,
			insert: func(id int) error { return tx.insert(ctx, id) },
			create: map[string]create{
				"QueryContext": func() (pgbarrier.Token, error) { return createBarrier(ctx, tx) },
				"driver": func() (token pgbarrier.Token, err error) {
					return notify.CreateSQL(ctx, tx.tx.(*entsql.Tx).ExecQuerier.(notify.SQLTx))
				},
			},
			// ent refuses a transaction in a transaction.
			nest: func(fn func(transaction) error) error {
				return inSavepoint(ctx, tx, func() error { return fn(in(ctx, tx)) })
			},
		}
	}
	return layer{
		tellsNothing: true,
		run: func(ctx context.Context, fn func(transaction) error) error {
			tx, err := driver.Tx(ctx)
			if err != nil {
				return err
			}
			if err := fn(in(ctx, &generatedTx{tx})); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			return tx.Commit()
		},
	}
}
