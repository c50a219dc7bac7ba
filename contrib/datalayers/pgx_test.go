package datalayers

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/contrib/datalayers/internal/orderspgx"
	"github.com/pgbarrier/pgbarrier/notify"
)

type beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

func openPool(t *testing.T, url string) *pgxpool.Pool {
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func pgxPool(t *testing.T, url string) layer {
	return pgxLayer(openPool(t, url), false)
}

func pgxConn(t *testing.T, url string) layer {
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return pgxLayer(conn, false)
}

func sqlcPgx(t *testing.T, url string) layer {
	return pgxLayer(openPool(t, url), true)
}

func pgxLayer(db beginner, sqlc bool) layer {
	var run func(ctx context.Context, db beginner, fn func(transaction) error) error
	run = func(ctx context.Context, db beginner, fn func(transaction) error) error {
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			ctx := notify.WithTx(ctx, tx)
			nest := func(fn func(transaction) error) error { return run(ctx, tx, fn) }
			if sqlc {
				return fn(sqlcPgxTransaction(ctx, tx, nest))
			}
			return fn(pgxTransaction(ctx, tx, nest))
		})
	}
	return layer{
		run:             func(ctx context.Context, fn func(transaction) error) error { return run(ctx, db, fn) },
		tellsSavepoints: true,
	}
}

func pgxBeginFunc(t *testing.T, url string) layer {
	var run func(ctx context.Context, db beginner, fn func(transaction) error) error
	run = func(ctx context.Context, db beginner, fn func(transaction) error) error {
		return notify.BeginFunc(ctx, db, func(ctx context.Context, tx pgx.Tx) error {
			return fn(pgxTransaction(ctx, tx, func(fn func(transaction) error) error { return run(ctx, tx, fn) }))
		})
	}
	pool := openPool(t, url)
	return layer{
		run:             func(ctx context.Context, fn func(transaction) error) error { return run(ctx, pool, fn) },
		tellsSavepoints: true,
	}
}

func pgxTransaction(ctx context.Context, tx pgx.Tx, nest func(func(transaction) error) error) transaction {
	return transaction{
		ctx: ctx,
		insert: func(id int) error {
			_, err := tx.Exec(ctx, "INSERT INTO orders (id) VALUES ($1)", id)
			return err
		},
		create: map[string]create{
			"Create": func() (pgbarrier.Token, error) { return notify.Create(ctx, tx) },
			"SQL": func() (token pgbarrier.Token, err error) {
				err = tx.QueryRow(ctx, notify.SQL()).Scan(&token)
				return token, err
			},
			"Queue": func() (token pgbarrier.Token, err error) {
				var batch pgx.Batch
				notify.Queue(&batch, &token)
				err = tx.SendBatch(ctx, &batch).Close()
				return token, err
			},
		},
		nest: nest,
	}
}

func sqlcPgxTransaction(ctx context.Context, tx pgx.Tx, nest func(func(transaction) error) error) transaction {
	var db orderspgx.DBTX = tx
	queries := orderspgx.New(nil).WithTx(tx)
	return transaction{
		ctx:    ctx,
		insert: func(id int) error { return queries.InsertOrder(ctx, int32(id)) },
		create: map[string]create{
			"Create": func() (pgbarrier.Token, error) { return notify.Create(ctx, tx) },
			"DBTX": func() (token pgbarrier.Token, err error) {
				err = db.QueryRow(ctx, notify.SQL()).Scan(&token)
				return token, err
			},
			"generated": func() (pgbarrier.Token, error) { return queries.CreateBarrier(ctx) },
		},
		nest: nest,
	}
}
