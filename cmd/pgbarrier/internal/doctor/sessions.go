package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// pending: a row that is not committed shows in no query, but who has inserted one keeps a lock on the table.
var pending = problems("no transaction with barriers is open for long", `
	SELECT 'warn', concat(`+session+`, ', in a transaction for ', date_trunc('second', clock_timestamp() - a.xact_start), ', ',
		CASE a.state WHEN 'active' THEN 'runs ' ELSE 'after ' END, left(a.query, 60))
	FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
	WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.relation = `+relation+`
		AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND a.backend_xid IS NOT NULL AND a.xact_start < clock_timestamp() - make_interval(secs => @open)
	ORDER BY a.xact_start`)

var prepared = problems("no prepared transaction is old", `
	SELECT 'warn', format('%L of role %s in database %s, prepared %s ago%s', p.gid, p.owner, p.database, date_trunc('second', clock_timestamp() - p.prepared),
		CASE WHEN p.database = current_database() AND EXISTS (
			SELECT FROM pg_locks x JOIN pg_locks l ON l.virtualtransaction = x.virtualtransaction
			WHERE x.locktype = 'transactionid' AND x.transactionid = p.transaction AND l.pid IS NULL AND l.relation = `+relation+`
				AND l.mode = 'RowExclusiveLock') THEN ', has barriers' ELSE '' END)
	FROM pg_prepared_xacts p WHERE p.prepared < clock_timestamp() - make_interval(secs => @prepared)
	ORDER BY p.prepared`)

var snapshots = problems("no old snapshot holds vacuum back", `
	SELECT 'warn', what FROM (
		SELECT concat(`+session+`, ', with a snapshot of ', date_trunc('second', clock_timestamp() - a.xact_start), ' ago') AS what, age(a.backend_xmin) AS age
		FROM pg_stat_activity a
		WHERE a.backend_xmin IS NOT NULL AND a.pid <> pg_backend_pid() AND (a.xact_start < clock_timestamp() - make_interval(secs => @snapshot)
			OR a.backend_type = 'walsender' AND age(a.backend_xmin) > @held_back)
		UNION ALL
		SELECT format('replication slot %s, %s transactions behind%s', slot_name, greatest(age(xmin), age(catalog_xmin)), CASE WHEN active THEN '' ELSE ', not in use' END),
			greatest(age(xmin), age(catalog_xmin))
		FROM pg_replication_slots WHERE greatest(age(xmin), age(catalog_xmin)) > @held_back
	) s ORDER BY age DESC`)

// listeners: a LISTEN session of package listener is known by its last statement, that of another by its own.
func listeners(ctx context.Context, p *Patient) (Level, string, error) {
	var ours, others int
	var many bool
	err := p.row(ctx, `
		SELECT count(*) FILTER (WHERE ours), count(*) FILTER (WHERE NOT ours), count(*) > @listeners FROM (
			SELECT query = 'SET idle_session_timeout = 0 /* the session that LISTENs */' AS ours FROM pg_stat_activity
			WHERE datname = current_database() AND (query = 'SET idle_session_timeout = 0 /* the session that LISTENs */' OR query ~* '^[[:space:]]*listen[[:space:]]')
		) l`, &ours, &others, &many)
	found := fmt.Sprintf("%d listeners of pgbarrier, and %d other sessions that listened last", ours, others)
	if err == nil && many {
		return Warn, found, nil
	}
	return OK, found, err
}

func cost(ctx context.Context, p *Patient) (Level, string, error) {
	var extension string
	err := p.row(ctx, "SELECT coalesce((SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'), '')", &extension)
	if err != nil || extension == "" {
		return OK, "not known: the extension pg_stat_statements is not there", err
	}
	var calls int64
	var each, share float64
	var much bool
	err = p.row(ctx, `
		SELECT calls, coalesce(took / nullif(calls, 0), 0), coalesce(took / nullif(total, 0), 0), coalesce(took / nullif(total, 0), 0) > @share FROM (
			SELECT coalesce(sum(calls) FILTER (WHERE ours), 0)::bigint AS calls, coalesce(sum(total_exec_time) FILTER (WHERE ours), 0) AS took, sum(total_exec_time) AS total
			FROM (
				SELECT calls, total_exec_time, query LIKE '%pgbarrier.check($%' AS ours FROM `+pgx.Identifier{extension}.Sanitize()+`.pg_stat_statements
				WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
			) s
		) t`, &calls, &each, &share, &much)
	found := fmt.Sprintf("%d checks of %.2f ms, %.2g %% of the time of all statements", calls, each, 100*share)
	if err == nil && much {
		return Warn, found, nil
	}
	return OK, found, err
}

var connections = problems("there is room for connections", `
	SELECT CASE WHEN used >= most THEN 'fail' ELSE 'warn' END, format('%s of %s connections of the %s are taken', used, most, what) FROM (
		SELECT concat('database ', d.datname) AS what, s.numbackends::bigint AS used, d.datconnlimit::bigint AS most
		FROM pg_database d JOIN pg_stat_database s ON s.datid = d.oid WHERE d.datname = current_database() AND d.datconnlimit >= 0
		UNION ALL
		SELECT concat('role ', r.rolname), (SELECT count(*) FROM pg_stat_activity WHERE usename = r.rolname), r.rolconnlimit
		FROM pg_roles r WHERE r.rolname = current_user AND r.rolconnlimit >= 0
		UNION ALL
		SELECT 'server', (SELECT sum(numbackends)::bigint FROM pg_stat_database),
			current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint - coalesce(current_setting('reserved_connections', true), '0')::bigint
	) c WHERE most - used < @room ORDER BY 1, 2`)

var wraparound = problems("no transaction id is very old", `
	SELECT CASE WHEN age > 1500000000 THEN 'fail' ELSE 'warn' END, format('the oldest transaction id, in database %s, is %s transactions old', datname, age)
	FROM (SELECT datname, age(datfrozenxid) AS age FROM pg_database ORDER BY age(datfrozenxid) DESC LIMIT 1) d
	WHERE age > @xids`)
