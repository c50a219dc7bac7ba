package doctor

import (
	"context"
	"fmt"
)

// relation is pgbarrier.barrier, also for a role that lacks USAGE on its schema.
const relation = `(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'pgbarrier' AND c.relname = 'barrier')`

// created is when the barrier b was: the first 48 bits of its id are milliseconds.
const created = `to_timestamp(('x' || left(replace(b.id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)`

// firstBarrier: below are marks.
const firstBarrier = `'00000001-0000-0000-0000-000000000000'`

var futureIDs = problems("no barrier is of a time to come", `
	SELECT 'warn', format('the latest barrier is of %s, in %s', date_trunc('second', at), date_trunc('second', at - clock_timestamp()))
	FROM (SELECT `+created+` AS at FROM pgbarrier.barrier b WHERE b.id >= `+firstBarrier+` ORDER BY b.id DESC LIMIT 1) latest
	WHERE at > clock_timestamp() + make_interval(secs => @ahead)`)

func size(ctx context.Context, p *Patient) (Level, string, error) {
	var pretty string
	var large bool
	err := p.row(ctx, `SELECT pg_size_pretty(bytes), bytes > @size FROM (SELECT pg_total_relation_size(`+relation+`) AS bytes) s`, &pretty, &large)
	if err == nil && large {
		return Warn, "the table and its index have " + pretty, nil
	}
	return OK, "the table and its index have " + pretty, err
}

func deadRows(ctx context.Context, p *Patient) (Level, string, error) {
	var live, dead int64
	var many bool
	err := p.row(ctx, `SELECT n_live_tup, n_dead_tup, n_dead_tup > @dead AND n_dead_tup > n_live_tup FROM pg_stat_all_tables WHERE relid = `+relation, &live, &dead, &many)
	found := fmt.Sprintf("about %d rows are live and %d dead", live, dead)
	if err == nil && many {
		return Warn, found, nil
	}
	return OK, found, err
}

// backlog counts so far only: purging is due in any case.
var backlog = problems("nothing is overdue to be purged", `
	SELECT 'warn', format('%s%s barriers are older than %s, the oldest is of %s', CASE WHEN count(*) > 10000 THEN 'more than ' ELSE '' END,
		least(count(*), 10000), make_interval(secs => @old), date_trunc('second', min(`+created+`)))
	FROM (
		SELECT b.id FROM pgbarrier.barrier b WHERE b.id >= `+firstBarrier+` AND b.id < concat(
			lpad(to_hex(floor(extract(epoch FROM clock_timestamp() - make_interval(secs => @old)) * 1000)::bigint), 12, '0'), '70008000000000000000')::uuid
		ORDER BY b.id LIMIT 10001
	) b HAVING count(*) > 0`)
