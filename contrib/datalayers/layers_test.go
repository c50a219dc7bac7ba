package datalayers

import (
	"context"
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

// layer is a data layer with its pool open.
type layer struct {
	// run runs fn in a transaction by the layer's own means: committed if fn returns nil, else rolled back.
	run func(ctx context.Context, fn func(transaction) error) error

	tellsSavepoints bool // when a savepoint has ended
	tellsNothing    bool // not even when the transaction has
}

// transaction is one of a data layer, or a savepoint in one.
type transaction struct {
	ctx    context.Context // in which notify finds it
	insert func(id int) error
	create map[string]create                      // by the lines that are documented
	nest   func(fn func(transaction) error) error // a savepoint, by the layer's own means, that ends as run's transaction does
}

type create = func() (pgbarrier.Token, error)

var layers = map[string]func(t *testing.T, url string) layer{
	"pgx pool":              pgxPool,
	"pgx connection":        pgxConn,
	"pgx by BeginFunc":      pgxBeginFunc,
	"sqlc for pgx":          sqlcPgx,
	"database/sql by pgx":   sqlPgx,
	"database/sql by pq":    sqlPQ,
	"sqlc for database/sql": sqlcSQL,
	"sqlx":                  sqlX,
	"gorm":                  gormPlain,
	"gorm with PrepareStmt": gormPrepared,
	"bun":                   bunLayer,
	"ent":                   entLayer,
}
