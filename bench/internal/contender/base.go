package contender

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// baseContender is the transaction alone.
func baseContender() Contender {
	return Contender{
		Name:    NameBase,
		About:   "the insert alone",
		Silent:  true,
		Install: func(context.Context, *pgxpool.Pool) error { return nil },
		Start: start(func(ctx context.Context, tx pgx.Tx, job *Job) error {
			_, err := tx.Exec(ctx, InsertRow, job.ID)
			return err
		}),
	}
}

// silentContender shows what NOTIFY adds to a barrier: here there is none.
func silentContender() Contender {
	return Contender{
		Name:    NameSilent,
		About:   "create(announce => false) in the batch of the insert",
		Silent:  true,
		Install: migrate,
		Clear:   clearBarriers,
		Start: start(func(ctx context.Context, tx pgx.Tx, job *Job) error {
			var batch pgx.Batch
			batch.Queue(InsertRow, job.ID)
			notify.Queue(&batch, new(pgbarrier.Token), notify.WithoutAnnouncement())
			return tx.SendBatch(ctx, &batch).Close()
		}),
	}
}

type produce func(ctx context.Context, tx pgx.Tx, job *Job) error

func (p produce) Produce(ctx context.Context, tx pgx.Tx, job *Job) error { return p(ctx, tx, job) }
func (p produce) Close() error                                           { return nil }

func start(p produce) func(context.Context, string, int) (Worker, error) {
	return func(context.Context, string, int) (Worker, error) { return p, nil }
}
