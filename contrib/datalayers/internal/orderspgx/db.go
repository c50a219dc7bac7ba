// Package orderspgx has the shape of what sqlc generates with sql_package: pgx/v5.
package orderspgx

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier"
)

type DBTX interface {
	Exec(context.Context, string, ...interface{}) (pgconn.CommandTag, error)
	Query(context.Context, string, ...interface{}) (pgx.Rows, error)
	QueryRow(context.Context, string, ...interface{}) pgx.Row
}

func New(db DBTX) *Queries { return &Queries{db: db} }

type Queries struct{ db DBTX }

func (q *Queries) WithTx(tx pgx.Tx) *Queries { return &Queries{db: tx} }

const insertOrder = `-- name: InsertOrder :exec
INSERT INTO orders (id) VALUES ($1)
`

func (q *Queries) InsertOrder(ctx context.Context, id int32) error {
	_, err := q.db.Exec(ctx, insertOrder, id)
	return err
}

// With an override of the column's type; it would be a string otherwise.
const createBarrier = `-- name: CreateBarrier :one
SELECT pgbarrier.create()
`

func (q *Queries) CreateBarrier(ctx context.Context) (pgbarrier.Token, error) {
	row := q.db.QueryRow(ctx, createBarrier)
	var create pgbarrier.Token
	err := row.Scan(&create)
	return create, err
}
