package integration_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// Attempts to run code with the rights of the functions' owner, by a role that owns a schema and holds
// every grant that an application could have been given.

// attack is a session of a role that may do all that pgbarrier's grants allow, and more: every
// function, as a careless GRANT would have it. Whatever its traps run as is in the error they raise.
func attack(t *testing.T, pool *pgxpool.Pool) (attacker *pgx.Conn, role string) {
	t.Helper()
	role = newRole(t, pool)
	execute(t, pool, "GRANT ALL ON DATABASE "+pool.Config().ConnConfig.Database+" TO "+role)
	execute(t, pool, "GRANT USAGE ON SCHEMA pgbarrier TO "+role)
	execute(t, pool, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgbarrier TO "+role)
	attacker = connect(t, as(t, pool, role))
	execute(t, attacker, "CREATE SCHEMA evil")
	execute(t, attacker, `CREATE FUNCTION evil.hit() RETURNS void LANGUAGE plpgsql
		AS $$ BEGIN RAISE EXCEPTION 'hijacked as %', current_user; END $$`)
	return attacker, role
}

// hijack puts a trap in place of every function and operator of pg_catalog that the schema's functions
// mention, with the very same arguments, and of every relation and type as a temporary one.
func hijack(t *testing.T, attacker *pgx.Conn) {
	t.Helper()
	// Temporary relations and types are found even if the path does not name pg_temp, functions and
	// operators never are: those stand in a schema in front of pg_catalog.
	const bodies = `SELECT string_agg(prosrc, ' ') FROM pg_proc WHERE pronamespace = 'pgbarrier'::regnamespace`
	execute(t, attacker, `DO $do$
		DECLARE f record; n integer := 0;
		BEGIN
			FOR f IN SELECT p.proname, p.proretset, pg_get_function_identity_arguments(p.oid) AS args, pg_get_function_result(p.oid) AS result
				FROM pg_proc p, regexp_split_to_table((`+bodies+`), '[^a-z0-9_]+') AS word
				WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.proname = word
					AND p.prorettype NOT IN ('internal'::regtype, 'trigger'::regtype, 'void'::regtype)
					AND p.proallargtypes IS NULL AND NOT 'internal'::regtype = ANY (p.proargtypes)
				GROUP BY p.oid, p.proname
			LOOP
				EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hit(); RETURN%s; END $$',
					f.proname, f.args, f.result, CASE WHEN f.proretset THEN '' ELSE ' NULL' END);
				n := n + 1;
			END LOOP;
			FOR f IN SELECT o.oprname, oprleft::regtype AS l, oprright::regtype AS r, oprresult::regtype AS result
				FROM pg_operator o
				WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprkind = 'b' AND o.oprresult <> 0
					AND position(o.oprname IN (`+bodies+`)) > 0
					AND ARRAY[oprleft, oprright] && ARRAY['text', 'uuid', 'xid8', 'bigint', 'integer', 'numeric', 'timestamptz', 'interval', 'bytea',
						'boolean', 'oid', 'name', 'float8', 'bit', 'anynonarray']::regtype[]::oid[]
			LOOP
				EXECUTE format('CREATE FUNCTION evil.op%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hit(); RETURN NULL; END $$',
					n, f.l, f.r, f.result);
				EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.op%s)', f.oprname, f.l, f.r, n);
				n := n + 1;
			END LOOP;
			IF n < 200 THEN RAISE EXCEPTION 'only % traps', n; END IF;
			FOR f IN SELECT c.relname FROM pg_class c WHERE c.oid IN ('pg_database'::regclass) OR c.relnamespace = 'pgbarrier'::regnamespace AND c.relkind IN ('r', 'v')
			LOOP
				EXECUTE format('CREATE TEMP TABLE %I (id text, xid text, seed text, oid text, datname text, base text, origin text, through text)', f.relname);
			END LOOP;
			FOR f IN SELECT unnest('{uuid,xid8,text,timestamptz,interval,bool,int4,int8,trigger}'::text[]) AS name
			LOOP
				EXECUTE format('CREATE DOMAIN pg_temp.%I AS "char" CHECK (evil.hit() IS NULL)', f.name);
			END LOOP;
		END $do$`)
	execute(t, attacker, "SET search_path = pg_temp, evil, pg_catalog, public")
	wantHijackedAs(t, attacker, "SELECT clock_timestamp()", "")
}

// wantHijackedAs checks that sql runs into a trap, and with whose rights that runs.
func wantHijackedAs(t *testing.T, attacker *pgx.Conn, sql, role string) {
	t.Helper()
	if _, err := attacker.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "hijacked as "+role) {
		t.Fatalf("the trap in %q does not work: %v", sql, err)
	}
}

// Also after the helpers without a search_path of their own have run, and been planned, with the
// caller's in the same session.
func TestNothingOfTheCallersIsRunWithTheOwnersRights(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	heard := listen(t, pool)
	attacker, role := attack(t, pool)
	hijack(t, attacker)
	for _, sql := range []string{
		"SELECT pgbarrier.never_assigned('3'::pg_catalog.xid8)", "SELECT pgbarrier.first_id(pg_catalog.now())", "SELECT pgbarrier.no_origin()",
		"SELECT pgbarrier.split(pg_catalog.string_to_array('a b', ' '))",
	} {
		// They may fail, in a trap or before: with the caller's rights.
		if _, err := attacker.Exec(t.Context(), sql); err != nil && strings.Contains(err.Error(), "hijacked") && !strings.Contains(err.Error(), role) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	origin := origin(t, pool)
	for range 7 { // plans become generic at the sixth
		tx := begin(t, attacker)
		token := create(t, tx)
		execute(t, tx, "SET LOCAL search_path = evil, pg_temp, pg_catalog") // as the deferred trigger finds it
		commit(t, tx)
		if !strings.HasSuffix(token.String(), origin) {
			t.Errorf("%v has not the origin %s", token, origin)
		}
		wantHeard(t, pool, heard, token)
		want(t, attacker, pgbarrier.Committed, token)
		want(t, attacker, pgbarrier.Aborted, aborted(t, attacker), lostAtSavepoint(t, attacker))
		never := aborted(t, attacker)
		never.XID = 1<<62 + 7
		want(t, attacker, pgbarrier.Aborted, never) // through never_assigned
		if status := query[string](t, attacker, "SELECT pgbarrier.status($1)", token); status != "committed" {
			t.Errorf("status is %s", status)
		}
		if outcome := query[string](t, attacker, "SELECT pgbarrier.wait($1, '1 second')", token); outcome != "committed" {
			t.Errorf("wait returns %s", outcome)
		}
		// Not Purge, whose statement says * and means the caller's.
		execute(t, attacker, "SELECT pgbarrier.purge('1 hour', 10)")
	}
}

// The trigger function takes its arguments' types from the table that it is on. On a table of an
// attacker's, that would be the attacker's type, with an implicit cast of the attacker's.
func TestTheTriggersFunctionIsOfNoUseOnAnotherTable(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	attacker, _ := attack(t, pool)
	for _, sql := range []string{
		"CREATE TYPE evil.id AS (a integer)",
		"CREATE FUNCTION evil.cast(evil.id) RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hit(); RETURN gen_random_uuid(); END $$",
		"CREATE CAST (evil.id AS uuid) WITH FUNCTION evil.cast(evil.id) AS IMPLICIT",
		"CREATE TABLE evil.barrier (id evil.id, xid xid8)",
	} {
		execute(t, attacker, sql)
	}
	for _, function := range []string{"announce", "lost", "only_origin"} {
		execute(t, attacker, "CREATE TRIGGER ours BEFORE INSERT ON evil.barrier FOR EACH ROW EXECUTE FUNCTION pgbarrier."+function+"()")
		_, err := attacker.Exec(t.Context(), "INSERT INTO evil.barrier VALUES (ROW(1), '3')")
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || !strings.Contains(pgErr.Message, "pgbarrier."+function+"() is for") {
			t.Errorf("the trigger on a table of others: %v", err)
		}
		execute(t, attacker, "DROP TRIGGER ours ON evil.barrier")
	}
}

// Whoever may create schemas may have made this one before, with tables and functions of his own in
// the place of ours. Nothing of that is run or kept by whoever migrates.
func TestASchemaThatSomebodyElsePreparedIsNotMigrated(t *testing.T) {
	t.Parallel()
	for name, prepared := range map[string]string{
		"a function": `CREATE FUNCTION pgbarrier.version() RETURNS integer LANGUAGE plpgsql
			AS $$ BEGIN RAISE EXCEPTION 'hijacked as %', current_user; END $$`,
		"a table": `CREATE TABLE pgbarrier.origin (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), base bigint NOT NULL DEFAULT 0, seed bigint NOT NULL DEFAULT 1);
			CREATE FUNCTION pgbarrier.hit() RETURNS trigger LANGUAGE plpgsql
				AS $$ BEGIN RAISE EXCEPTION 'hijacked as %', current_user; END $$;
			CREATE TRIGGER hit BEFORE INSERT ON pgbarrier.origin FOR EACH ROW EXECUTE FUNCTION pgbarrier.hit()`,
		"nothing yet": "SELECT 1",
	} {
		pool := emptyDatabase(t)
		role := newRole(t, pool)
		execute(t, pool, "GRANT CREATE ON DATABASE "+pool.Config().ConnConfig.Database+" TO "+role)
		attacker := connect(t, as(t, pool, role))
		execute(t, attacker, "CREATE SCHEMA pgbarrier; "+prepared)
		err := pgbarrier.Migrate(t.Context(), pool)
		if err == nil || strings.Contains(err.Error(), "hijacked") || !strings.Contains(err.Error(), role) {
			t.Errorf("%s: migrating a schema of %s's: %v", name, role, err)
		}
	}

	// Its owner may, and whose rights its owner has anyway.
	pool := emptyDatabase(t)
	role, member := newRole(t, pool), newRole(t, pool)
	execute(t, pool, "CREATE SCHEMA pgbarrier AUTHORIZATION "+role)
	migrate(t, as(t, pool, role))
	migrate(t, as(t, pool, role))
	tx := begin(t, pool)
	execute(t, tx, "SET LOCAL ROLE "+role)
	migrate(t, tx)
	commit(t, tx)
	execute(t, pool, "GRANT "+role+" TO "+member)
	memberOnly := connect(t, as(t, pool, member))
	execute(t, pool, "GRANT CREATE ON DATABASE "+pool.Config().ConnConfig.Database+" TO "+member)
	if err := pgbarrier.Migrate(t.Context(), memberOnly); err == nil || !strings.Contains(err.Error(), "SET ROLE") {
		t.Errorf("by a member of the owner: %v", err)
	}
	execute(t, memberOnly, "SET ROLE "+role)
	migrate(t, memberOnly)
}
