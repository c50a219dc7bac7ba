package doctor

import (
	"context"
	"strings"
)

// grants finds what the role may do with the schema. By its catalog: to name a function takes USAGE.
func grants(ctx context.Context, p *Patient) (Level, string, error) {
	var usage, produces, waits, purges bool
	var half int // of what waits need
	err := p.row(ctx, `
		SELECT has_schema_privilege(n.oid, 'USAGE'), coalesce(bool_or(f.part = 'create'), false), count(*) FILTER (WHERE f.part LIKE 'wait%') = 2,
			(count(*) FILTER (WHERE f.part LIKE 'wait%'))::integer, coalesce(bool_or(f.part = 'purge'), false)
		FROM pg_namespace n LEFT JOIN LATERAL (
			SELECT CASE concat(p.proname, '(', pg_get_function_identity_arguments(p.oid), ')')
				WHEN 'create(announce boolean)' THEN 'create' WHEN 'version()' THEN 'wait version'
				WHEN 'check(ids uuid[], xids xid8[], OUT version integer, OUT origin text, OUT snapshot text, OUT outcomes text)' THEN 'wait check'
				WHEN 'purge_batch(retention interval, batch integer, after uuid, OUT purged bigint, OUT last uuid)' THEN 'purge' END AS part
			FROM pg_proc p WHERE p.pronamespace = n.oid AND has_function_privilege(p.oid, 'EXECUTE')
		) f ON true
		WHERE n.nspname = 'pgbarrier' GROUP BY n.oid`, &usage, &produces, &waits, &half, &purges)
	if err != nil {
		return 0, "", err
	}

	var may []string
	for _, right := range []struct {
		to      string
		granted bool
	}{{"create barriers", produces}, {"wait for them", waits}, {"purge", purges}} {
		if right.granted {
			may = append(may, right.to)
		}
	}
	switch {
	case !usage:
		return Fail, "role " + p.facts.role + " lacks USAGE on schema pgbarrier", nil
	case half == 1:
		return Fail, "role " + p.facts.role + " has one of the two grants that waits need: EXECUTE on version() and on check(uuid[], xid8[])", nil
	case !produces && !waits:
		return Fail, "role " + p.facts.role + " may neither create barriers nor wait for them", nil
	}
	return OK, "role " + p.facts.role + " may " + strings.Join(may, ", "), nil
}

// ownerGrants looks into the code for what it calls: what was revoked is little, and its names are few.
var ownerGrants = problems("the schema's owner may execute what its functions use", `
	WITH code AS (
		SELECT p.proname AS name, regexp_replace(p.prosrc, '--[^[:cntrl:]]*', '', 'g') AS text, p.proowner AS owner
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'pgbarrier'
		UNION ALL
		SELECT c.relname, pg_get_viewdef(c.oid), c.relowner
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'pgbarrier' AND c.relkind = 'v'
		UNION ALL
		SELECT c.relname, pg_get_expr(d.adbin, d.adrelid), c.relowner
		FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'pgbarrier'
	)
	SELECT CASE WHEN bool_and(code.name IN ('announce', 'unusual')) THEN 'warn' ELSE 'fail' END,
		format('role %s may not execute %s, which %s needs', pg_get_userbyid(code.owner), f.oid::regprocedure, string_agg(DISTINCT code.name::text, ', '))
	FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace AND n.nspname = 'pg_catalog'
	JOIN code ON code.text ~ concat('(^|[^a-z0-9_])', f.proname, '[(]')
	WHERE f.proacl IS NOT NULL AND NOT has_function_privilege(code.owner, f.oid, 'EXECUTE')
	GROUP BY f.oid, code.owner ORDER BY 1, 2`)

var listenerGrants = problems("the role may execute what a listener uses", `
	SELECT 'warn', format('role %s may not execute %s, %s', current_user, f.name::regprocedure, f.purpose)
	FROM (VALUES ('pg_notify(text,text)', 'without which a LISTEN connection is not believed'),
		('pg_stat_get_backend_idset()', 'so that checks of many processes are not slowed down'),
		('pg_try_advisory_xact_lock_shared(bigint)', 'so that a busy listener cannot switch announcements off'),
		('pg_lock_status()', 'so that who holds NOTIFY up is not logged')) AS f (name, purpose)
	WHERE NOT has_function_privilege(f.name, 'EXECUTE')`)
