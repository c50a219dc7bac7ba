package integration_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

func TestAnOlderSchemaBecomesACurrentOneAndKeepsItsGrants(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	older, err := os.ReadFile("testdata/older.sql")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, pool, string(older))
	role := newRole(t, pool)
	execute(t, pool, "GRANT USAGE ON SCHEMA pgbarrier TO "+role+"; GRANT EXECUTE ON FUNCTION pgbarrier.create(boolean) TO "+role)
	wantErr(t, "CheckSchema", pgbarrier.CheckSchema(t.Context(), pool), pgbarrier.ErrNotMigrated)

	migrate(t, pool)
	if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	want(t, pool, pgbarrier.Committed, committed(t, as(t, pool, role)))
	if deferred := query[bool](t, pool, "SELECT tginitdeferred FROM pg_trigger WHERE tgname = 'announce'"); !deferred {
		t.Error("the older trigger is still there")
	}
	// The older trigger announced at once, which PREPARE TRANSACTION refuses.
	tx := begin(t, pool)
	token := create(t, tx, notify.WithoutAnnouncement())
	execute(t, tx, "PREPARE TRANSACTION 'upgraded'")
	execute(t, pool, "COMMIT PREPARED 'upgraded'")
	want(t, pool, pgbarrier.Committed, token)
}

// Whatever is missing, CheckSchema names it and Migrate puts it back. What was certain about an
// older token either stays so, or the token becomes one of another database: it is never a false
// abort.
func TestEachMissingPartIsNamedAndRepaired(t *testing.T) {
	for _, test := range []struct {
		drop, named string
		after       pgbarrier.Status // of a committed token, after the repair
	}{
		{"FUNCTION pgbarrier.version()", "version", pgbarrier.Committed},
		{"FUNCTION pgbarrier.first_id(timestamptz)", "function first_id", pgbarrier.Committed},
		{"FUNCTION pgbarrier.create(boolean)", "function create", pgbarrier.Committed},
		{"FUNCTION pgbarrier.unusual(text)", "function unusual", pgbarrier.Committed},
		{"FUNCTION pgbarrier.no_origin()", "function no_origin", pgbarrier.Committed},
		{"FUNCTION pgbarrier.announce() CASCADE", "function announce", pgbarrier.Committed},
		{"FUNCTION pgbarrier.check(text[])", "function check(text[])", pgbarrier.Committed},
		{"FUNCTION pgbarrier.check(uuid[], xid8[])", "function check(uuid[],xid8[])", pgbarrier.Committed},
		{"FUNCTION pgbarrier.split(text[])", "function split", pgbarrier.Committed},
		{"FUNCTION pgbarrier.letters(text[], uuid[], text, text)", "function letters", pgbarrier.Committed},
		{"FUNCTION pgbarrier.never_assigned(xid8)", "function never_assigned", pgbarrier.Committed},
		{"FUNCTION pgbarrier.status(text)", "function status", pgbarrier.Committed},
		{"FUNCTION pgbarrier.explain(text)", "function explain", pgbarrier.Committed},
		{"FUNCTION pgbarrier.proof(text)", "function proof", pgbarrier.Committed},
		{"FUNCTION pgbarrier.wait(text, interval)", "function wait", pgbarrier.Committed},
		{"FUNCTION pgbarrier.purge(interval, integer)", "function purge(", pgbarrier.Committed},
		{"FUNCTION pgbarrier.purge_batch(interval, integer, uuid)", "function purge_batch", pgbarrier.Committed},
		{"FUNCTION pgbarrier.visible(text[])", "function visible(text[])", pgbarrier.Committed},
		{"FUNCTION pgbarrier.visible(uuid[], xid8[])", "function visible(uuid[],xid8[])", pgbarrier.Committed},
		{"FUNCTION pgbarrier.mark(xid8)", "function mark", pgbarrier.Committed},
		{"FUNCTION pgbarrier.lost() CASCADE", "function lost", pgbarrier.Committed},
		{"FUNCTION pgbarrier.only_origin() CASCADE", "function only_origin", pgbarrier.Committed},
		{"FUNCTION pgbarrier.seed(uuid) CASCADE", "function seed", pgbarrier.WrongDatabase},
		{"TRIGGER announce ON pgbarrier.barrier", "trigger announce", pgbarrier.Committed},
		{"TRIGGER lost_table ON pgbarrier.barrier", "trigger lost_table of barrier", pgbarrier.Committed},
		{"TRIGGER lost_rows ON pgbarrier.barrier", "trigger lost_rows of barrier", pgbarrier.Committed},
		{"TRIGGER lost_row ON pgbarrier.barrier", "trigger lost_row of barrier", pgbarrier.Committed},
		{"TRIGGER lost_id ON pgbarrier.barrier", "trigger lost_id of barrier", pgbarrier.Committed},
		{"TRIGGER only_origin ON pgbarrier.origin", "trigger only_origin of origin", pgbarrier.Committed},
		{"VIEW pgbarrier.horizon", "relation horizon", pgbarrier.Committed},
		{"VIEW pgbarrier.armed CASCADE", "relation armed", pgbarrier.Committed},
		{"VIEW pgbarrier.here CASCADE", "relation here", pgbarrier.Committed},
		{"TABLE pgbarrier.origin CASCADE", "relation origin", pgbarrier.WrongDatabase},
		{"TABLE pgbarrier.barrier CASCADE", "relation barrier", pgbarrier.Expired},
		{"SCHEMA pgbarrier CASCADE", "pgbarrier migrate", pgbarrier.WrongDatabase},
	} {
		t.Run(strings.Fields(test.drop)[0]+" "+test.named, func(t *testing.T) {
			t.Parallel()
			pool := migratedDatabase(t)
			token, lost := committed(t, pool), lostAtSavepoint(t, pool)
			execute(t, pool, "SET client_min_messages = warning; DROP "+test.drop)

			err := pgbarrier.CheckSchema(t.Context(), pool)
			wantErr(t, "CheckSchema", err, pgbarrier.ErrNotMigrated)
			if !strings.Contains(err.Error(), test.named) {
				t.Errorf("%q does not name %s", err, test.named)
			}
			migrate(t, pool)
			if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
				t.Fatal(err)
			}
			want(t, pool, test.after, token)
			if test.after == pgbarrier.Committed {
				// While a trigger was missing that notices lost rows, some may have gone.
				status := pgbarrier.Aborted
				if strings.Contains(test.drop, "pgbarrier.lost") || strings.Contains(test.drop, "ON pgbarrier.barrier") && !strings.Contains(test.drop, "announce") {
					status = pgbarrier.Expired
				}
				want(t, pool, status, lost)
			}
			want(t, pool, pgbarrier.Committed, committed(t, pool))
		})
	}
}

func TestADisabledTriggerIsNamedAndRepaired(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "ALTER TABLE pgbarrier.barrier DISABLE TRIGGER announce")
	err := pgbarrier.CheckSchema(t.Context(), pool)
	wantErr(t, "CheckSchema", err, pgbarrier.ErrNotMigrated)
	migrate(t, pool)
	if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
		t.Error(err)
	}
}

// As somebody has it whose rows come by logical replication. To replace the trigger would wait for every open
// producer.
func TestATriggerThatIsEnabledAlwaysIsLeftAlone(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "ALTER TABLE pgbarrier.barrier ENABLE ALWAYS TRIGGER announce")
	execute(t, pool, "COMMENT ON SCHEMA pgbarrier IS NULL") // so that Migrate looks at everything
	tx := begin(t, pool)
	create(t, tx)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := pgbarrier.CheckSchema(ctx, pool); err != nil {
		t.Error(err)
	}
	if err := pgbarrier.Migrate(ctx, pool); err != nil {
		t.Error(err)
	}
	if enabled := query[string](t, pool, "SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'announce'"); enabled != "A" {
		t.Errorf("the trigger is enabled as %s", enabled)
	}
}

// A dump of the schema alone (pg_dump --schema-only, Rails' structure.sql) brings no row.
func TestASchemaRestoredWithoutItsRowsIsNoticedAndRepaired(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	execute(t, pool, "ALTER TABLE pgbarrier.origin DISABLE TRIGGER ALL; ALTER TABLE pgbarrier.barrier DISABLE TRIGGER ALL; TRUNCATE pgbarrier.barrier, pgbarrier.origin")

	tx := begin(t, pool)
	_, err := notify.Create(t.Context(), tx)
	wantErr(t, "Create", err, pgbarrier.ErrNotMigrated)
	rollback(t, tx)
	_, err = pgbarrier.Check(t.Context(), pool, token)
	wantErr(t, "Check", err, pgbarrier.ErrNotMigrated)

	migrate(t, pool)
	want(t, pool, pgbarrier.WrongDatabase, token)
	want(t, pool, pgbarrier.Committed, committed(t, pool))
}

func TestANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	execute(t, pool, "CREATE OR REPLACE FUNCTION pgbarrier.version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 3'")
	execute(t, pool, "DO $$ BEGIN EXECUTE replace(pg_get_functiondef('pgbarrier.check(uuid[], xid8[])'::regprocedure), 'version := 2', 'version := 3'); END $$")

	_, err := pgbarrier.Check(t.Context(), pool, token)
	wantErr(t, "Check", err, pgbarrier.ErrNotMigrated)
	wantErr(t, "Poll", pgbarrier.Poll(t.Context(), pool, token), pgbarrier.ErrNotMigrated)
	wantErr(t, "CheckSchema", pgbarrier.CheckSchema(t.Context(), pool), pgbarrier.ErrNotMigrated)
	wantErr(t, "Migrate", pgbarrier.Migrate(t.Context(), pool), pgbarrier.ErrNotMigrated)
	if _, err := pool.Exec(t.Context(), pgbarrier.SQL); err == nil || !strings.Contains(err.Error(), "version 3 is installed") {
		t.Errorf("the file: %v", err)
	}
	if version := query[int](t, pool, "SELECT pgbarrier.version()"); version != 3 {
		t.Errorf("the version is %d after that", version)
	}
}

func TestWithoutTheSchemaEveryCallNamesTheCommandThatInstallsIt(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	token := pgbarrier.Token{ID: [16]byte{6: 0x70, 8: 0x80}, XID: 1}
	tx := begin(t, pool)
	_, createErr := notify.Create(t.Context(), tx)
	_, checkErr := pgbarrier.Check(t.Context(), pool, token)
	_, purgeErr := pgbarrier.Purge(t.Context(), pool, time.Hour)
	for what, err := range map[string]error{
		"Create": createErr, "Check": checkErr, "Purge": purgeErr,
		"CheckSchema":  pgbarrier.CheckSchema(t.Context(), pool),
		"Poll":         pgbarrier.Poll(t.Context(), pool, token),
		"AwaitReplica": pgbarrier.AwaitReplica(t.Context(), pool, token),
	} {
		wantErr(t, what, err, pgbarrier.ErrNotMigrated)
		if !strings.Contains(err.Error(), "pgbarrier migrate") {
			t.Errorf("%s: %q does not name the command", what, err)
		}
	}
}
