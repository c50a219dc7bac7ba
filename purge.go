package pgbarrier

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// purgeBatch bounds how many rows one transaction deletes.
const purgeBatch = 10_000

// Purge deletes the barriers that were created longer ago than retention and returns how many it
// deleted. Each batch is a transaction of its own, in READ COMMITTED, when db is a pool or a connection; in
// SERIALIZABLE a purge is refused, because it could make a producer's COMMIT fail. While another session
// purges, Purge leaves it to that one and returns.
//
// A wait for a purged barrier ends with [ErrExpired], so retention must outlast the slowest
// redelivery of a message and the longest transaction. It must be positive; a day or more is usual.
// The role needs EXECUTE on pgbarrier.purge_batch(interval, integer, uuid).
func Purge(ctx context.Context, db DB, retention time.Duration) (int64, error) {
	var total int64
	for batch, err := range PurgeBatches(ctx, db, retention) {
		if err != nil {
			return total, err
		}
		total += batch.Purged
	}
	return total, nil
}

// A PurgedBatch is what one transaction of a purge has deleted.
type PurgedBatch struct {
	Purged  int64     // barriers
	Through time.Time // when the last of them was created; they go oldest first
}

// PurgeBatches is [Purge] batch by batch, to show how far it is or to pause. It can be left at any time, and by
// ctx: what was deleted stays deleted, and the next purge goes on with the rest. An error is the last that comes.
func PurgeBatches(ctx context.Context, db DB, retention time.Duration) iter.Seq2[PurgedBatch, error] {
	return func(yield func(PurgedBatch, error) bool) {
		err := requireDB(db)
		if err == nil && retention <= 0 {
			err = fmt.Errorf("pgbarrier: purge: retention is %v, it must be longer than zero", retention)
		}
		var after *uuid.UUID // the last barrier of the batch before
		for err == nil {
			var purged *int64 // null: another session is purging
			err = wire.InOneTransaction(ctx, db, wire.ReadCommitted, func(db DB) error {
				return db.QueryRow(ctx, "SELECT purged, last FROM pgbarrier.purge_batch($1::pg_catalog.interval, $2::integer, $3::pg_catalog.uuid)",
					pgtype.Interval{Microseconds: max(retention.Microseconds(), 1), Valid: true}, purgeBatch, after).Scan(&purged, &after)
			})
			switch {
			case err != nil:
				err = wire.Explain("purge", err)
			case purged == nil || *purged == 0:
				return
			case !yield(PurgedBatch{*purged, Token{ID: *after}.Created()}, nil) || *purged < purgeBatch:
				return
			}
		}
		yield(PurgedBatch{}, err)
	}
}
