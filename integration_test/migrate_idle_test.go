package integration_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// frozen forbids every change of the catalog, as some do around a deployment.
const frozen = `CREATE FUNCTION public.freeze() RETURNS event_trigger LANGUAGE plpgsql
	AS $$ BEGIN RAISE EXCEPTION 'no DDL now'; END $$;
	CREATE EVENT TRIGGER frozen ON ddl_command_start EXECUTE FUNCTION public.freeze()`

// A process that migrates at every start, as it should, is under whatever holds at that moment.
func TestMigratingWithNothingToDoWritesNothing(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, frozen)
	roles := map[string]*pgxpool.Pool{"owner": pool, "nobody": as(t, pool, newRole(t, pool))}
	for _, who := range []string{"producer", "worker", "whoever purges", "whoever asks from SQL"} {
		role := newRole(t, pool)
		execute(t, pool, "ALTER EVENT TRIGGER frozen DISABLE")
		grant(t, pool, who, role)
		execute(t, pool, "ALTER EVENT TRIGGER frozen ENABLE")
		roles[who] = as(t, pool, role)
	}
	rows := func() string {
		return query[string](t, pool, `SELECT string_agg(xmin::text || ' ' || what, ', ' ORDER BY what) FROM (
			SELECT xmin, 'function ' || oid::text AS what FROM pg_proc WHERE pronamespace = 'pgbarrier'::regnamespace
			UNION ALL SELECT xmin, 'relation ' || oid::text FROM pg_class WHERE relnamespace = 'pgbarrier'::regnamespace
			UNION ALL SELECT xmin, 'trigger ' || oid::text FROM pg_trigger WHERE tgrelid = 'pgbarrier.barrier'::regclass
			UNION ALL SELECT xmin, 'schema' FROM pg_namespace WHERE nspname = 'pgbarrier'
			UNION ALL SELECT xmin, 'barrier ' || id::text FROM pgbarrier.barrier) AS all_of_it`)
	}
	t.Cleanup(func() { // of the roles, which comes after this
		_, _ = pool.Exec(context.Background(), "ALTER EVENT TRIGGER frozen DISABLE")
	})
	before := rows()
	for who, db := range roles {
		for _, setting := range []string{"default_transaction_read_only=off", "default_transaction_read_only=on"} {
			name, value := setting[:len("default_transaction_read_only")], setting[len("default_transaction_read_only="):]
			one := open(t, withSetting(t, db.Config().ConnString(), name, value), func(c *pgxpool.Config) {
				c.ConnConfig.User = db.Config().ConnConfig.User
			})
			if err := pgbarrier.Migrate(t.Context(), one); err != nil {
				t.Errorf("%s, %s: %v", who, setting, err)
			}
			tx := begin(t, one)
			migrate(t, tx)
			if xid := query[*string](t, tx, "SELECT pg_current_xact_id_if_assigned()::text"); xid != nil {
				t.Errorf("%s, %s: migrating with nothing to do took transaction id %s", who, setting, *xid)
			}
			rollback(t, tx)
		}
	}
	if after := rows(); after != before {
		t.Errorf("rows were written: %s became %s", before, after)
	}
}

// What differs is repaired, and that is all that is.
func TestWhatWasChangedByHandIsRepaired(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a function":       "CREATE OR REPLACE FUNCTION pgbarrier.never_assigned(xid xid8) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$",
		"its rights":       "ALTER FUNCTION pgbarrier.check(uuid[], xid8[]) SECURITY INVOKER",
		"its settings":     "ALTER FUNCTION pgbarrier.check(uuid[], xid8[]) RESET ALL",
		"a trigger":        "DROP TRIGGER lost_rows ON pgbarrier.barrier; CREATE TRIGGER lost_rows AFTER INSERT ON pgbarrier.barrier EXECUTE FUNCTION pgbarrier.lost()",
		"when it fires":    "ALTER TABLE pgbarrier.barrier DISABLE TRIGGER lost_table",
		"all triggers":     "ALTER TABLE pgbarrier.barrier DISABLE TRIGGER ALL",
		"a view":           "CREATE OR REPLACE VIEW pgbarrier.here AS SELECT '00000000'::text AS origin, '00000000'::text AS seed",
		"the lost mark":    "ALTER TABLE pgbarrier.barrier DISABLE TRIGGER ALL; DELETE FROM pgbarrier.barrier; ALTER TABLE pgbarrier.barrier ENABLE TRIGGER ALL",
		"a lost default":   "ALTER TABLE pgbarrier.barrier ALTER id DROP DEFAULT",
		"an older version": "COMMENT ON SCHEMA pgbarrier IS NULL",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := migratedDatabase(t)
			state := "SELECT obj_description('pgbarrier'::regnamespace, 'pg_namespace')"
			before := query[string](t, pool, state)
			execute(t, pool, "SET client_min_messages = warning; "+change)
			migrate(t, pool)
			if after := query[string](t, pool, state); after != before {
				t.Errorf("it is %q, and was %q", after, before)
			}
			want(t, pool, pgbarrier.Committed, committed(t, pool))
			want(t, pool, pgbarrier.Aborted, lostAtSavepoint(t, pool))
			if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
				t.Error(err)
			}
		})
	}
}

// The triggers that are as they should be stay: to make one waits for every open producer.
func TestRepairingReplacesNoTriggerThatIsRight(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	triggers := "SELECT string_agg(concat(oid, tgenabled), ' ' ORDER BY oid) FROM pg_trigger WHERE tgrelid IN ('pgbarrier.barrier'::regclass, 'pgbarrier.origin'::regclass)"
	before := query[string](t, pool, triggers)
	execute(t, pool, "COMMENT ON SCHEMA pgbarrier IS NULL")
	producer := begin(t, pool)
	create(t, producer)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tx := begin(t, pool)
	execute(t, tx, "SET LOCAL lock_timeout = '5s'")
	if err := pgbarrier.Migrate(ctx, tx); err != nil {
		t.Fatal(err)
	}
	commit(t, tx)
	if after := query[string](t, pool, triggers); after != before {
		t.Errorf("the triggers were %s and are %s", before, after)
	}
}
