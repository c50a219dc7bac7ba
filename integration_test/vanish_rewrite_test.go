package integration_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// What moves rows without changing what they are leaves every outcome as it was.
func TestMaintenanceOfTheBarriersLeavesEveryOutcomeCertain(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	good, bad, lost := committed(t, pool), aborted(t, pool), lostAtSavepoint(t, pool)
	for range 2 { // twice: what was moved once is moved again
		for _, sql := range []string{
			"VACUUM pgbarrier.barrier", "VACUUM FULL pgbarrier.barrier", "VACUUM FREEZE pgbarrier.barrier", "VACUUM (FULL, FREEZE) pgbarrier.barrier",
			"CLUSTER pgbarrier.barrier USING barrier_pkey", "ALTER TABLE pgbarrier.barrier SET WITHOUT CLUSTER",
			"REINDEX TABLE pgbarrier.barrier", "REINDEX TABLE CONCURRENTLY pgbarrier.barrier", "ANALYZE pgbarrier.barrier",
			"VACUUM FULL pgbarrier.origin", "VACUUM FULL pg_trigger", "REINDEX SCHEMA pgbarrier",
			"ALTER TABLE pgbarrier.barrier SET LOGGED", "ALTER TABLE pgbarrier.barrier SET (fillfactor = 90, autovacuum_enabled = off)",
			"ALTER TABLE pgbarrier.barrier SET TABLESPACE pg_default", "ALTER TABLE pgbarrier.barrier ADD note text",
			"ALTER TABLE pgbarrier.barrier DROP note", "GRANT SELECT ON pgbarrier.barrier TO PUBLIC", "REVOKE SELECT ON pgbarrier.barrier FROM PUBLIC",
			"ALTER TABLE pgbarrier.barrier REPLICA IDENTITY FULL", "ALTER TABLE pgbarrier.barrier REPLICA IDENTITY DEFAULT",
			"SELECT pgbarrier.purge('1 hour')",
		} {
			execute(t, pool, sql)
			wantAsked(t, pool, nil, nil, good)
			wantAsked(t, pool, nil, pgbarrier.ErrAborted, bad, lost)
			if t.Failed() {
				t.Fatal("after " + sql)
			}
		}
		wantExact(t, pool)
	}
}

// A rewritten table has copies of the marks, which prove nothing. What is there is committed, what is not may have been
// lost, and a purge or a migration makes new barriers certain again.
func TestARewrittenTableTellsNoFalseAbort(t *testing.T) {
	for name, sql := range map[string]string{
		"SET UNLOGGED":                       "ALTER TABLE pgbarrier.barrier SET UNLOGGED",
		"SET UNLOGGED and LOGGED":            "ALTER TABLE pgbarrier.barrier SET UNLOGGED; ALTER TABLE pgbarrier.barrier SET LOGGED",
		"ADD a column with a random default": "ALTER TABLE pgbarrier.barrier ADD extra uuid DEFAULT gen_random_uuid()",
		"ALTER TYPE of a column, and back":   "ALTER TABLE pgbarrier.barrier ADD extra integer DEFAULT 1; ALTER TABLE pgbarrier.barrier ALTER extra TYPE bigint; ALTER TABLE pgbarrier.barrier ALTER extra TYPE integer",
		"ALTER TYPE of id, and back, without what depends on it": `BEGIN; DROP VIEW pgbarrier.horizon; DROP TRIGGER lost_id ON pgbarrier.barrier;
			ALTER TABLE pgbarrier.barrier ALTER id DROP DEFAULT, ALTER id TYPE text; ALTER TABLE pgbarrier.barrier ALTER id TYPE uuid USING id::uuid; COMMIT`,
		"a copy in its place": `BEGIN; CREATE TEMP TABLE copied AS SELECT * FROM pgbarrier.barrier;
			TRUNCATE pgbarrier.barrier; INSERT INTO pgbarrier.barrier SELECT * FROM copied; COMMIT`,
		"a copy in its place, while triggers are disabled": `BEGIN; ALTER TABLE pgbarrier.barrier DISABLE TRIGGER ALL; CREATE TEMP TABLE copied AS SELECT * FROM pgbarrier.barrier;
			TRUNCATE pgbarrier.barrier; INSERT INTO pgbarrier.barrier SELECT * FROM copied ORDER BY id LIMIT 3; COMMIT`,
	} {
		for repair, mend := range map[string]func(t *testing.T, pool *pgxpool.Pool){
			"purge":   func(t *testing.T, pool *pgxpool.Pool) { purgeOld(t, pool) },
			"Migrate": func(t *testing.T, pool *pgxpool.Pool) { migrate(t, pool) },
		} {
			t.Run(name+", "+repair, func(t *testing.T) {
				t.Parallel()
				pool := migratedDatabase(t)
				tokens := []pgbarrier.Token{committed(t, pool), committed(t, pool), committed(t, pool)}
				bad, lost := aborted(t, pool), lostAtSavepoint(t, pool)
				execute(t, pool, sql)
				neverAborted(t, pool, nil, tokens...)
				mend(t, pool)
				if repair == "purge" {
					migrate(t, pool) // of what is missing; a purge alone is enough for what is not
				}
				wantByRows(t, pool, nil, tokens...)
				wantAsked(t, pool, nil, pgbarrier.ErrAborted, bad)
				if statuses, err := pgbarrier.Check(t.Context(), pool, lost); err != nil || statuses[0] != pgbarrier.Expired {
					t.Errorf("what was lost before is %v, %v", statuses, err)
				}
				wantExact(t, pool)
			})
		}
	}
}

// purgeOld purges nothing, if it can.
func purgeOld(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), "SELECT pgbarrier.purge('1 day')"); err != nil {
		t.Logf("purge: %v", err)
	}
}

func TestAPurgeAloneMakesNewBarriersOfARewrittenTableCertain(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for _, sql := range []string{"ALTER TABLE pgbarrier.barrier ADD extra uuid DEFAULT gen_random_uuid()", "ALTER TABLE pgbarrier.barrier SET UNLOGGED", "ALTER TABLE pgbarrier.barrier SET LOGGED"} {
		good := committed(t, pool)
		execute(t, pool, sql)
		lost := lostAtSavepoint(t, pool)
		want(t, pool, pgbarrier.Committed, good)
		want(t, pool, pgbarrier.Expired, lost)
		execute(t, pool, "SELECT pgbarrier.purge('1 day')")
		want(t, pool, pgbarrier.Committed, good)
		want(t, pool, pgbarrier.Expired, lost)
		wantExact(t, pool)
	}
}

func TestADroppedTableIsMadeAnewAndTellsNoFalseAbort(t *testing.T) {
	for name, sql := range map[string]string{
		"barrier":            "DROP TABLE pgbarrier.barrier CASCADE",
		"barrier and origin": "DROP TABLE pgbarrier.barrier, pgbarrier.origin CASCADE",
		"origin":             "DROP TABLE pgbarrier.origin CASCADE",
		"schema":             "DROP SCHEMA pgbarrier CASCADE",
		"renamed away":       "ALTER TABLE pgbarrier.barrier RENAME TO archived",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := migratedDatabase(t)
			tokens := []pgbarrier.Token{committed(t, pool), committed(t, pool)}
			execute(t, pool, "SET client_min_messages = warning; "+sql)
			neverAborted(t, pool, nil, tokens...)
			migrate(t, pool)
			neverAborted(t, pool, nil, tokens...)
			wantExact(t, pool)
		})
	}
}

// An unlogged table is empty after a crash.
func TestAnUnloggedTableThatACrashEmptiedTellsNoFalseAbort(t *testing.T) {
	t.Parallel()
	s := devpg.ForTest(t)
	pool := open(t, s.URL())
	migrate(t, pool)
	before := committed(t, pool)
	execute(t, pool, "ALTER TABLE pgbarrier.barrier SET UNLOGGED")
	execute(t, pool, "SELECT pgbarrier.purge('1 day')")
	wantExact(t, pool)
	// A transaction that writes nothing but unlogged tables is lost with them: its commit is not flushed.
	tx := begin(t, pool)
	execute(t, tx, "CREATE TABLE updates ()")
	after := create(t, tx)
	commit(t, tx)
	crash(t, s)
	restart(t, s, pool)
	if n := query[int](t, pool, "SELECT count(*) FROM pgbarrier.barrier"); n != 0 {
		t.Fatalf("the crash left %d rows: nothing is tested", n)
	}
	wantAsked(t, pool, nil, pgbarrier.ErrExpired, before, after)
	migrate(t, pool)
	wantAsked(t, pool, nil, pgbarrier.ErrExpired, before, after)
	wantExact(t, pool)

	execute(t, pool, "ALTER TABLE pgbarrier.barrier SET LOGGED; ALTER TABLE pgbarrier.origin SET UNLOGGED")
	token := committed(t, pool)
	crash(t, s)
	restart(t, s, pool)
	neverAborted(t, pool, nil, before, after, token)
	migrate(t, pool)
	wantAsked(t, pool, nil, pgbarrier.ErrWrongDatabase, before, after, token)
	wantExact(t, pool)
}
