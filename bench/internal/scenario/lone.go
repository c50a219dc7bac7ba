package scenario

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	"github.com/pgbarrier/pgbarrier/listener"
)

const (
	rowWait = "listener.Wait"
	rowPoll = "pgbarrier.Poll"
)

// runLone: one wait after the other, each for a token that has long committed and is new to the listener.
func runLone(ctx context.Context, l *Lab) error {
	db, err := l.database(ctx, contender.Named(contender.NamePgbarrier))
	if err != nil {
		return err
	}
	defer db.Pool.Reset()
	tokens, err := committedTokens(ctx, db, pick(l.Options, 5000, 500))
	if err != nil {
		return err
	}
	table := l.Report.Table("lone", "one wait after the other for committed tokens", rowWait, rowPoll)
	return l.turns(table, func(_ int, row *report.Row) error {
		wait, end, err := loneWorker(ctx, db, row.Name)
		if err != nil {
			return err
		}
		defer end()
		if err := wait(tokens[0]); err != nil { // connects, prepares the statement
			return err
		}
		var took []time.Duration
		started := time.Now()
		for _, t := range tokens[1:] {
			begun := time.Now()
			if begun.Sub(started) > 2*l.Duration {
				break
			}
			if err := wait(t); err != nil {
				return err
			}
			took = append(took, time.Since(begun))
		}
		row.Add("n", float64(len(took)))
		addLatencies(row, "", took)
		return nil
	})
}

func loneWorker(ctx context.Context, db *Database, name string) (wait func(pgbarrier.Token) error, end func(), err error) {
	if name == rowWait {
		w, err := contender.StartListener(ctx, db.URL, listener.Config{})
		if err != nil {
			return nil, nil, err
		}
		return func(t pgbarrier.Token) error { return w.Wait(ctx, t) }, func() { _ = w.Close() }, nil
	}
	pool, err := pgxpool.New(ctx, db.URL)
	if err != nil {
		return nil, nil, err
	}
	return func(t pgbarrier.Token) error { return pgbarrier.Poll(ctx, pool, t) }, pool.Close, nil
}
