package scenario

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

// committedTokens measures how fast a listener finds out about tokens that have committed long ago, on
// its one check connection.
func (l *Lab) committedTokens(ctx context.Context, db *Database, batch int, add func(string, float64)) error {
	n := pick(l.Options, 100_000, 5_000)
	if batch == 1 {
		n /= 50
	}
	tokens := make([]pgbarrier.Token, 0, n)
	for len(tokens) < n {
		err := pgx.BeginFunc(ctx, db.Pool, func(tx pgx.Tx) error {
			first, err := notify.Create(ctx, tx, notify.WithoutAnnouncement())
			if err != nil {
				return err
			}
			rows, err := tx.Query(ctx, "SELECT pgbarrier.create() FROM generate_series(2, $1)", min(5000, n-len(tokens)))
			if err != nil {
				return err
			}
			more, err := pgx.CollectRows(rows, pgx.RowTo[pgbarrier.Token])
			tokens = append(append(tokens, first), more...)
			return err
		})
		if err != nil {
			return err
		}
	}
	w, err := contender.StartListener(ctx, db.URL, listener.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }() // measured already
	begun := time.Now()
	for i := 0; i < len(tokens); i += batch {
		if err := w.Wait(ctx, tokens[i:min(i+batch, len(tokens))]...); err != nil {
			return err
		}
	}
	add("tokens/s", float64(len(tokens))/time.Since(begun).Seconds())
	return nil
}

// pendingTokens makes n tokens of transactions that stay open until end is called.
func pendingTokens(ctx context.Context, db *Database, n int) (tokens []pgbarrier.Token, end func(), err error) {
	var txs []pgx.Tx
	end = func() {
		for _, tx := range txs {
			_ = tx.Rollback(context.WithoutCancel(ctx)) // nothing in it counts
		}
	}
	tokens = make([]pgbarrier.Token, n)
	var models []pgbarrier.Token
	for range min(n, openTransactions) {
		tx, err := db.Pool.Begin(ctx)
		if err != nil {
			end()
			return nil, nil, err
		}
		txs = append(txs, tx)
		t, err := notify.Create(ctx, tx)
		if err != nil {
			end()
			return nil, nil, err
		}
		models = append(models, t)
	}
	for i := range tokens {
		tokens[i] = models[i%len(models)]
		if tokens[i].ID, err = uuid.NewV7(); err != nil {
			end()
			return nil, nil, err
		}
	}
	return tokens, end, nil
}
