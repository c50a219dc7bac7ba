package scenario

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// committedTokens makes n tokens of transactions that have committed, silently, 50 of a transaction.
func committedTokens(ctx context.Context, db *Database, n int) (tokens []pgbarrier.Token, err error) {
	for len(tokens) < n {
		var some []pgbarrier.Token
		err := pgx.BeginFunc(ctx, db.Pool, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "SELECT pgbarrier.create(announce => false) FROM generate_series(1, 50)")
			if err != nil {
				return err
			}
			some, err = pgx.CollectRows(rows, pgx.RowTo[pgbarrier.Token])
			return err
		})
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, some...)
	}
	return tokens, nil
}

// openTransactions is how many are open for all that is pending, whose number makes each check dearer by itself.
const openTransactions = 10

// pendingTokens makes n tokens of at most openTransactions transactions that stay open until end is called. Only one of each
// transaction has a row, which no check can see before it has committed.
func pendingTokens(ctx context.Context, db *Database, n int) (tokens []pgbarrier.Token, end func(), err error) {
	var txs []pgx.Tx
	end = func() {
		for _, tx := range txs {
			_ = tx.Rollback(context.WithoutCancel(ctx)) // nothing in it counts
		}
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	tokens = make([]pgbarrier.Token, n)
	for i := range min(n, openTransactions) {
		tx, err := db.Pool.Begin(ctx)
		if err != nil {
			return nil, nil, err
		}
		txs = append(txs, tx)
		if tokens[i], err = notify.Create(ctx, tx); err != nil {
			return nil, nil, err
		}
	}
	for i := len(txs); i < n; i++ {
		tokens[i] = tokens[i%len(txs)]
		if tokens[i].ID, err = uuid.NewV7(); err != nil {
			return nil, nil, err
		}
	}
	return tokens, end, nil
}
