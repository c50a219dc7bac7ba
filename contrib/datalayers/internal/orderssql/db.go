// Package orderssql has the shape of what sqlc generates with sql_package: database/sql.
package orderssql

import (
	"context"
	"database/sql"

	"github.com/pgbarrier/pgbarrier"
)

type DBTX interface {
	ExecContext(context.Context, string, ...interface{}) (sql.Result, error)
	PrepareContext(context.Context, string) (*sql.Stmt, error)
	QueryContext(context.Context, string, ...interface{}) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...interface{}) *sql.Row
}

func New(db DBTX) *Queries { return &Queries{db: db} }

type Queries struct{ db DBTX }

func (q *Queries) WithTx(tx *sql.Tx) *Queries { return &Queries{db: tx} }

const insertOrder = `-- name: InsertOrder :exec
INSERT INTO orders (id) VALUES ($1)
`

func (q *Queries) InsertOrder(ctx context.Context, id int32) error {
	_, err := q.db.ExecContext(ctx, insertOrder, id)
	return err
}

// With an override of the column's type; it would be a string otherwise.
const createBarrier = `-- name: CreateBarrier :one
SELECT pgbarrier.create()
`

func (q *Queries) CreateBarrier(ctx context.Context) (pgbarrier.Token, error) {
	row := q.db.QueryRowContext(ctx, createBarrier)
	var create pgbarrier.Token
	err := row.Scan(&create)
	return create, err
}
