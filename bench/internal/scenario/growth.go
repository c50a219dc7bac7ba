package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/sample"
	"github.com/pgbarrier/pgbarrier/notify"
)

// runGrowth: does anything get dearer as the barrier table grows, and does purging disturb?
func runGrowth(ctx context.Context, l *Lab) error {
	if err := l.setFlush(ctx, flushes[0]); err != nil {
		return err
	}
	c := contender.Named(contender.NamePgbarrier)
	db, err := l.database(ctx, c)
	if err != nil {
		return err
	}
	defer db.Pool.Reset()
	if _, err := db.Pool.Exec(ctx, "TRUNCATE pgbarrier.barrier"); err != nil {
		return err
	}
	rows := 0
	for _, n := range pick(l.Options, []int{1000, 10_000, 100_000, 1_000_000, 10_000_000}, []int{1000, 20_000}) {
		l.Progress(fmt.Sprintf("7 growth · filling up to %d rows", n))
		if err := fill(ctx, db, rows, n); err != nil {
			return err
		}
		rows = n
		table := l.Report.Table("7 growth", fmt.Sprintf("%d barrier rows", n))
		table.Params["rows"] = float64(n)
		for round := range l.Rounds {
			l.Progress(fmt.Sprintf("7 growth · round %d/%d · %d rows", round+1, l.Rounds, n))
			if err := l.grown(ctx, db, table.Row(c.Name).Add); err != nil {
				return fmt.Errorf("%d rows: %w", n, err)
			}
		}
	}
	return l.purging(ctx, c, db, rows)
}

// Filled rows look as if they had been created one after the other, from fillAge ago on.
const (
	fillAge  = 90 * 24 * time.Hour
	fillStep = 700 * time.Millisecond // ten million take 81 days
)

// fill inserts barriers until there are as many.
func fill(ctx context.Context, db *Database, from, to int) error {
	const slice = 500_000 // rows a statement
	for ; from < to; from += slice {
		err := pgx.BeginFunc(ctx, db.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL pgbarrier.announce = 'off'"); err != nil {
				return err
			}
			// The tail keeps apart what has the same millisecond.
			_, err := tx.Exec(ctx, `
				INSERT INTO pgbarrier.barrier (id)
				SELECT overlay(pgbarrier.first_id(now() - $3::bigint * interval '1 ms' + i * $4::bigint * interval '1 ms')::text
					PLACING lpad(to_hex(i), 12, '0') FROM 25)::uuid
				FROM generate_series($1::int, $2::int) i`, from+1, min(from+slice, to),
				fillAge.Milliseconds(), fillStep.Milliseconds())
			return err
		})
		if err != nil {
			return err
		}
	}
	if _, err := db.Pool.Exec(ctx, "VACUUM (ANALYZE) pgbarrier.barrier"); err != nil {
		return err
	}
	_, err := db.Pool.Exec(ctx, "CHECKPOINT") // or the gigabytes would be written during the measurement
	return err
}

// grown measures a transaction and a check on the table as large as it is.
func (l *Lab) grown(ctx context.Context, db *Database, add func(string, float64)) error {
	conn, err := db.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var transactions, checks []time.Duration
	var tokens []pgbarrier.Token
	for begun := time.Now(); time.Since(begun) < l.Duration || len(tokens) < 100; {
		at := time.Now()
		var token pgbarrier.Token
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			var batch pgx.Batch
			batch.Queue(contender.InsertRow, l.nextID())
			notify.Queue(&batch, &token)
			return tx.SendBatch(ctx, &batch).Close()
		})
		if err != nil {
			return err
		}
		transactions = append(transactions, time.Since(at))
		tokens = append(tokens, token)
	}
	tokens = tokens[len(tokens)-100:]
	for range 50 {
		at := time.Now()
		if _, err := pgbarrier.Check(ctx, conn, tokens...); err != nil {
			return err
		}
		checks = append(checks, time.Since(at))
	}
	created, checked := sample.LatenciesOf(transactions), sample.LatenciesOf(checks)
	add("tx p50 ms", created.P50)
	add("tx p99 ms", created.P99)
	add("check of 100 p50 ms", checked.P50)
	add("check of 100 p99 ms", checked.P99)
	return plan(ctx, conn.Conn(), tokens, add)
}

// plan tells how a check finds its rows: what the planner says of the lookup under the check function's
// settings, and what the function really did, by the counters of the transaction.
func plan(ctx context.Context, conn *pgx.Conn, tokens []pgbarrier.Token, add func(string, float64)) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		const counters = `SELECT seq_scan::float8, idx_scan::float8 FROM pg_stat_xact_all_tables WHERE relid = 'pgbarrier.barrier'::regclass`
		var seqBefore, idxBefore, seq, idx float64
		if err := tx.QueryRow(ctx, counters).Scan(&seqBefore, &idxBefore); err != nil {
			return err
		}
		if _, err := pgbarrier.Check(ctx, tx, tokens...); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, counters).Scan(&seq, &idx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan"); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "EXPLAIN SELECT b.xid FROM pgbarrier.barrier b WHERE b.id = $1", pgx.QueryExecModeSimpleProtocol, tokens[0].ID)
		if err != nil {
			return err
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		lookup := 0.0
		if strings.HasPrefix(lines[0], "Index Scan using barrier_pkey") {
			lookup = 1
		}
		add("index lookup", lookup)
		add("index scans/token", (idx-idxBefore)/float64(len(tokens)))
		add("sequential scans", seq-seqBefore)
		return nil
	})
}
