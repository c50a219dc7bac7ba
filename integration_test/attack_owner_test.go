package integration_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier"
)

// escalation_test.go tries to have code run with the owner's rights. This is more of it, by a role with a
// schema, temporary objects, and every function.

// hijackMore adds traps for whatever hijack leaves out: functions that return rows, prefix operators, types
// of every name that the functions mention, temporary relations named as any catalog or alias in them, and
// casts from types of the attacker's to those of the functions' arguments.
func hijackMore(t *testing.T, attacker interface {
	pgbarrier.DB
}) {
	t.Helper()
	execute(t, attacker, "SET search_path = pg_catalog, pg_temp") // or temporary types come first
	execute(t, attacker, `DO $do$
		DECLARE f record; n integer := 0; words text[] := regexp_split_to_array(lower((
			SELECT string_agg(prosrc, ' ') FROM pg_proc WHERE pronamespace = 'pgbarrier'::regnamespace)), '[^a-z0-9_]+') || '{cid,regclass,float8,any,oid,bit,record,"char",name}'::text[];
		BEGIN
			FOR f IN SELECT DISTINCT p.proname, p.oid FROM pg_proc p
				WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (words) AND p.proallargtypes IS NOT NULL AND NOT '{2281,2276}'::oid[] && p.proargtypes::oid[] -- internal, any
			LOOP
				EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hit(); RETURN; END $$',
					f.proname, pg_get_function_arguments(f.oid), pg_get_function_result(f.oid));
				n := n + 1;
			END LOOP;
			FOR f IN SELECT DISTINCT t.typname FROM pg_type t
				WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'p', 'd') AND t.typname = ANY (words) AND t.typname !~ '^_'
			LOOP
				BEGIN
					EXECUTE format('CREATE DOMAIN evil.%I AS integer CHECK (evil.hit() IS NULL)', f.typname);
					EXECUTE format('CREATE DOMAIN pg_temp.%I AS "char" CHECK (evil.hit() IS NULL)', f.typname);
					n := n + 1;
				EXCEPTION WHEN duplicate_object THEN NULL;
				END;
			END LOOP;
			FOR f IN SELECT DISTINCT w FROM unnest(words || '{b,h,o,l,u,pgbarrier}'::text[]) w WHERE w ~ '^[a-z_]+$' AND length(w) < 30
				AND (w IN ('b', 'h', 'o', 'l', 'u', 'now', 'judged', 'found', 'gone', 'pgbarrier') OR EXISTS (SELECT FROM pg_class c WHERE c.relname = w AND c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v')))
			LOOP
				EXECUTE format('CREATE TEMP TABLE IF NOT EXISTS %I (id text, xid text, seed text, oid text, datname text, base text, origin text, through text)', f.w);
				n := n + 1;
			END LOOP;
			-- A function that takes anything is hidden by one of these very arguments alone.
			CREATE FUNCTION evil.concat(text, uuid, text, xid8, text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hit(); RETURN NULL; END $$;
			CREATE FUNCTION evil.concat(text, uuid, text, xid8, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hit(); RETURN NULL; END $$;
			CREATE TYPE evil.anything AS (a integer);
			FOR f IN SELECT unnest('{boolean,uuid,xid8,text,timestamptz,interval,bigint}'::regtype[]) AS target
			LOOP
				EXECUTE format('CREATE FUNCTION evil.cast_%s(evil.anything) RETURNS %s LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hit(); RETURN NULL; END $$', n, f.target);
				EXECUTE format('CREATE CAST (evil.anything AS %s) WITH FUNCTION evil.cast_%s(evil.anything) AS IMPLICIT', f.target, n);
				n := n + 1;
			END LOOP;
			IF n < 30 THEN RAISE EXCEPTION 'only % more traps', n; END IF;
		END $do$`)
}

func TestNothingIsHijackedFromCreateToTheEndOfCommit(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	heard := listen(t, pool)
	attacker, role := attack(t, pool)
	hijack(t, attacker)
	hijackMore(t, attacker)
	paths := []string{"pg_temp, evil, pg_catalog", "evil, pg_temp, pg_catalog", "evil", "pg_temp, evil", "evil, pg_catalog, pgbarrier", "''", "pg_catalog, evil"}
	for range 7 { // plans become generic at the sixth
		for _, path := range paths {
			execute(t, attacker, "SET search_path = "+path)
			tx := begin(t, attacker)
			tokens := []pgbarrier.Token{create(t, tx), createUnannounced(t, tx)}
			execute(t, tx, "SET LOCAL pgbarrier.announce = on")
			for _, other := range paths {
				execute(t, tx, "SET LOCAL search_path = "+other)
				tokens = append(tokens, create(t, tx))
			}
			commit(t, tx)
			wantHeard(t, pool, heard, tokens...)
			want(t, attacker, pgbarrier.Committed, tokens...)
			// Autocommit, with the warning.
			if _, err := attacker.Exec(t.Context(), "SELECT pgbarrier.create()"); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	// What a caller hands over is made what it must be with the caller's rights.
	execute(t, attacker, "SET search_path = pg_catalog")
	for _, sql := range []string{"SELECT pgbarrier.create(ROW(1)::evil.anything)", "SELECT pgbarrier.status(ROW(1)::evil.anything)", "SELECT pgbarrier.wait(ROW(1)::evil.anything)", "SELECT pgbarrier.purge(ROW(1)::evil.anything)"} {
		wantHijackedAs(t, attacker, sql, role)
	}
}

// The functions that only others of ours call, called by whoever was given them all.
func TestTheOwnersRightsAreNotHadThroughTheInnerFunctions(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	attacker, _ := attack(t, pool)
	old := committed(t, pool)
	execute(t, attacker, "CREATE TABLE evil.barrier (id uuid, xid xid8, base bigint, seed bigint)")
	execute(t, attacker, "CREATE TABLE evil.origin (id uuid, xid xid8, base bigint, seed bigint)")

	for _, sql := range []string{
		"SELECT pgbarrier.mark()", "SELECT pgbarrier.mark('1')", "SELECT pgbarrier.mark(NULL)", "SELECT * FROM pgbarrier.here", "SELECT * FROM pgbarrier.horizon",
		"INSERT INTO pgbarrier.barrier DEFAULT VALUES", "DELETE FROM pgbarrier.barrier", "UPDATE pgbarrier.barrier SET xid = '3'", "TRUNCATE pgbarrier.barrier", "TRUNCATE pgbarrier.origin",
		"DELETE FROM pgbarrier.origin", "LOCK TABLE pgbarrier.origin", "SELECT FROM pgbarrier.origin FOR UPDATE",
	} {
		_, err := begin(t, attacker).Exec(t.Context(), sql)
		wantDenied(t, sql, err)
		rollbackAll(t, attacker)
	}
	for _, function := range []string{"announce", "lost", "only_origin"} {
		for _, when := range []string{"BEFORE INSERT ON evil.barrier FOR EACH ROW", "AFTER INSERT ON evil.barrier FOR EACH ROW", "AFTER INSERT ON evil.origin FOR EACH STATEMENT",
			"AFTER DELETE ON evil.barrier FOR EACH ROW", "AFTER TRUNCATE ON evil.origin FOR EACH STATEMENT", "AFTER DELETE ON evil.barrier REFERENCING OLD TABLE AS gone FOR EACH STATEMENT",
			"AFTER UPDATE ON evil.barrier FOR EACH ROW", "BEFORE INSERT ON evil.origin FOR EACH ROW"} {
			execute(t, attacker, "CREATE TRIGGER ours "+when+" EXECUTE FUNCTION pgbarrier."+function+"()")
			failed := 0
			for _, table := range []string{"barrier", "origin"} {
				execute(t, attacker, "BEGIN")
				for _, sql := range []string{"INSERT INTO evil." + table + " VALUES (gen_random_uuid(), '3', 1, 1)", "UPDATE evil." + table + " SET id = gen_random_uuid()", "DELETE FROM evil." + table, "TRUNCATE evil." + table} {
					execute(t, attacker, "SAVEPOINT s")
					if _, err := attacker.Exec(t.Context(), sql); err != nil {
						var pgErr *pgconn.PgError
						if !errors.As(err, &pgErr) || !strings.Contains(pgErr.Message, "pgbarrier."+function+"() is for") {
							t.Errorf("%s on %s: %s: %v", function, when, sql, err)
						}
						failed++
						execute(t, attacker, "ROLLBACK TO s")
					}
				}
				execute(t, attacker, "ROLLBACK")
			}
			if failed == 0 && !strings.Contains(when, "UPDATE") && !strings.Contains(when, "DELETE") { // there is no row to update
				t.Errorf("%s %s did not refuse", function, when)
			}
			execute(t, attacker, "DROP TRIGGER ours ON evil."+map[bool]string{true: "origin", false: "barrier"}[strings.Contains(when, "evil.origin")])
		}
	}
	// The others say nothing that their callers could not find out, and change nothing.
	for _, sql := range []string{"SELECT pgbarrier.seed(gen_random_uuid())", "SELECT pgbarrier.first_id(now())", "SELECT pgbarrier.never_assigned('3')", "SELECT pgbarrier.unusual('x')",
		"SELECT pgbarrier.split('{a}')", "SELECT pgbarrier.letters('{a}', '{}', 'x', 'I')"} {
		execute(t, attacker, sql)
	}
	want(t, pool, pgbarrier.Committed, old)
	want(t, pool, pgbarrier.Aborted, aborted(t, pool)) // the horizon is where it was
}

func rollbackAll(t testing.TB, db pgbarrier.DB) {
	t.Helper()
	execute(t, db, "ROLLBACK")
}
