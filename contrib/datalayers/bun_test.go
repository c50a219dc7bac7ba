package datalayers

import (
	"context"
	"testing"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

type bunOrder struct {
	bun.BaseModel `bun:"table:orders"`

	ID int `bun:",pk"`
}

func bunLayer(t *testing.T, url string) layer {
	var run func(ctx context.Context, db bun.IDB, fn func(transaction) error) error
	run = func(ctx context.Context, db bun.IDB, fn func(transaction) error) error {
		return db.RunInTx(ctx, nil, func(_ context.Context, tx bun.Tx) error {
			ctx := notify.WithSQLTx(ctx, tx) // our own context: see below
			var idb bun.IDB = tx
			return fn(transaction{
				ctx: ctx,
				insert: func(id int) error {
					_, err := tx.NewInsert().Model(&bunOrder{ID: id}).Exec(ctx)
					return err
				},
				create: map[string]create{
					"CreateSQL": func() (pgbarrier.Token, error) { return notify.CreateSQL(ctx, tx) },
					"IDB": func() (token pgbarrier.Token, err error) {
						err = idb.NewRaw(notify.SQL()).Scan(ctx, &token)
						return token, err
					},
					"IDB's row": func() (token pgbarrier.Token, err error) {
						err = idb.QueryRowContext(ctx, notify.SQL()).Scan(&token)
						return token, err
					},
				},
				nest: func(fn func(transaction) error) error { return run(ctx, tx, fn) },
			})
		})
	}
	db := bun.NewDB(openDB(t, "pgx", url), pgdialect.New())
	return layer{run: func(ctx context.Context, fn func(transaction) error) error { return run(ctx, db, fn) }}
}

// The function of a nested RunInTx is given the context that the transaction was begun with. What is sent in that has no
// barrier. When this fails, bun has changed, and the warning in doc.go can go.
func TestANestedTransactionOfBunForgetsTheContextItWasGiven(t *testing.T) {
	t.Parallel()
	db := bun.NewDB(openDB(t, "pgx", server.DatabaseForTest(t)), pgdialect.New())
	err := db.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		ctx = notify.WithSQLTx(ctx, tx)
		return tx.RunInTx(ctx, nil, func(nested context.Context, _ bun.Tx) error {
			if _, ok, err := notify.Current(nested); ok || err != nil {
				t.Errorf("the nested context has a transaction: %v, %v", ok, err)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}
