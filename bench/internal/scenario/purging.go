package scenario

import (
	"context"
	"errors"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
)

const (
	rowNotPurging = "not purging"
	rowPurging    = "purging old barriers"
)

// purging runs producers with and without a session that purges as fast as it can. The retention falls
// from round to round, so that each has its share of the filled rows to purge.
func (l *Lab) purging(ctx context.Context, c contender.Contender, db *Database, filled int) error {
	producers := 8
	table := l.Report.Table("7 growth", countOf(producers, "producer")+", think 1ms, purging under load")
	table.Baseline, table.Ratio = rowNotPurging, "COMMIT p99 ms"
	for round := range l.Rounds {
		for _, name := range []string{rowNotPurging, rowPurging} {
			l.Progress("7 growth · " + name)
			run, stop := context.WithCancel(ctx)
			purged := make(chan int64, 1)
			if name == rowPurging {
				share := time.Duration(filled) * fillStep / time.Duration(l.Rounds)
				go func() { purged <- purgeUntil(run, db, fillAge-share*time.Duration(round+1)) }()
			} else {
				purged <- 0
			}
			found, err := l.load(ctx, c, db, producers, time.Millisecond)
			stop()
			rows := <-purged
			if err != nil {
				return err
			}
			if rows < 0 {
				return errors.New("purging failed")
			}
			row := table.Row(name)
			row.Add("commits/s", found.commitsPerSecond)
			row.Add("COMMIT p50 ms", found.commit.P50)
			row.Add("COMMIT p99 ms", found.commit.P99)
			row.Add("sent→run p50 ms", found.sinceSent.P50)
			row.Add("sent→run p99 ms", found.sinceSent.P99)
			row.Add("rows purged", float64(rows))
		}
	}
	return nil
}

// purgeUntil purges until ctx ends, and returns how many rows, less than none if it failed.
func purgeUntil(ctx context.Context, db *Database, retention time.Duration) (rows int64) {
	for ctx.Err() == nil {
		n, err := pgbarrier.Purge(ctx, db.Pool, retention)
		rows += n
		switch {
		case ctx.Err() != nil:
			return rows
		case err != nil:
			return -1
		case n == 0:
			time.Sleep(10 * time.Millisecond)
		}
	}
	return rows
}
