package datalayers

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/contrib/datalayers/internal/orderssql"
	"github.com/pgbarrier/pgbarrier/notify"
)

func openDB(t *testing.T, driver, url string) *sql.DB {
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// sqlTx is what the layers of database/sql have in common.
type sqlTx interface {
	notify.SQLTx
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	Rollback() error
}

func sqlPgx(t *testing.T, url string) layer { return plainSQL(openDB(t, "pgx", url)) }
func sqlPQ(t *testing.T, url string) layer  { return plainSQL(openDB(t, "postgres", url)) }

func plainSQL(db *sql.DB) layer {
	return sqlLayer(func(ctx context.Context) (sqlTx, error) { return db.BeginTx(ctx, nil) }, nil)
}

func sqlX(t *testing.T, url string) layer {
	db := sqlx.NewDb(openDB(t, "pgx", url), "pgx")
	return sqlLayer(func(ctx context.Context) (sqlTx, error) { return db.BeginTxx(ctx, nil) },
		func(ctx context.Context, tx sqlTx, lines map[string]create) {
			lines["Get"] = func() (token pgbarrier.Token, err error) {
				err = tx.(*sqlx.Tx).GetContext(ctx, &token, notify.SQL())
				return token, err
			}
		})
}

func sqlcSQL(t *testing.T, url string) layer {
	db := openDB(t, "pgx", url)
	return sqlLayer(func(ctx context.Context) (sqlTx, error) { return db.BeginTx(ctx, nil) },
		func(ctx context.Context, tx sqlTx, lines map[string]create) {
			var db orderssql.DBTX = tx.(*sql.Tx)
			lines["DBTX"] = func() (token pgbarrier.Token, err error) {
				err = db.QueryRowContext(ctx, notify.SQL()).Scan(&token)
				return token, err
			}
			lines["generated"] = func() (pgbarrier.Token, error) {
				return orderssql.New(nil).WithTx(tx.(*sql.Tx)).CreateBarrier(ctx)
			}
		})
}

// sqlLayer makes savepoints in SQL. more adds the lines that the layer has besides.
func sqlLayer(begin func(context.Context) (sqlTx, error), more func(context.Context, sqlTx, map[string]create)) layer {
	var in func(ctx context.Context, tx sqlTx) transaction
	in = func(ctx context.Context, tx sqlTx) transaction {
		outer := ctx
		ctx = notify.WithSQLTx(ctx, tx)
		this := transaction{
			ctx: ctx,
			insert: func(id int) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES ($1)", id)
				return err
			},
			create: map[string]create{
				"CreateSQL": func() (pgbarrier.Token, error) { return notify.CreateSQL(outer, tx) },
				"SQL": func() (token pgbarrier.Token, err error) {
					err = tx.QueryRowContext(ctx, notify.SQL()).Scan(&token)
					return token, err
				},
			},
			nest: func(fn func(transaction) error) error {
				return inSavepoint(ctx, tx, func() error { return fn(in(ctx, tx)) })
			},
		}
		if more != nil {
			more(ctx, tx, this.create)
		}
		return this
	}
	return layer{run: func(ctx context.Context, fn func(transaction) error) error {
		tx, err := begin(ctx)
		if err != nil {
			return err
		}
		if err := fn(in(ctx, tx)); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}}
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// inSavepoint runs fn after a savepoint, and rolls back to it on an error. An inner one of the same name hides the
// outer one for as long as it is there.
func inSavepoint(ctx context.Context, tx execer, fn func() error) error {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT s"); err != nil {
		return err
	}
	err := fn()
	if err != nil {
		_, undone := tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT s")
		err = errors.Join(err, undone)
	}
	_, released := tx.ExecContext(ctx, "RELEASE SAVEPOINT s")
	return errors.Join(err, released)
}
