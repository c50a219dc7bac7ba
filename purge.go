package pgbarrier

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// purgeBatch bounds how many rows one transaction deletes.
const purgeBatch = 10_000

// Purge deletes the barriers that were created longer ago than retention and returns how many it
// deleted. Each batch is a transaction of its own, in READ COMMITTED, when db is a pool or a connection; in
// SERIALIZABLE a purge is refused, because it could make a producer's COMMIT fail. While another session purges, Purge leaves it to that one and returns.
//
// A wait for a purged barrier ends with [ErrExpired], so retention must outlast the slowest
// redelivery of a message and the longest transaction. It must be positive; a day or more is usual.
// The role needs EXECUTE on pgbarrier.purge_batch(interval, integer, uuid).
func Purge(ctx context.Context, db DB, retention time.Duration) (int64, error) {
	if err := requireDB(db); err != nil {
		return 0, err
	}
	if retention <= 0 {
		return 0, fmt.Errorf("pgbarrier: purge: retention is %v, it must be longer than zero", retention)
	}
	var total int64
	var after *uuid.UUID // the last barrier of the batch before
	for {
		var purged *int64 // null: another session is purging
		err := wire.InReadCommitted(ctx, db, func(db wire.DB) error {
			return db.QueryRow(ctx, "SELECT purged, last FROM pgbarrier.purge_batch($1::pg_catalog.interval, $2::integer, $3::pg_catalog.uuid)",
				pgtype.Interval{Microseconds: max(retention.Microseconds(), 1), Valid: true}, purgeBatch, after).Scan(&purged, &after)
		})
		if err != nil {
			return total, wire.Explain("purge", err)
		}
		if purged == nil {
			return total, nil
		}
		total += *purged
		if *purged < purgeBatch {
			return total, nil
		}
	}
}
