package integration_test

import (
	"os"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// A publication of all tables refuses to update or delete rows of a table that has no replica identity.
func TestEverythingWorksInAPublicationOfAllTables(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	execute(t, pool, "SET client_min_messages = error; CREATE PUBLICATION everything FOR ALL TABLES")
	for name, do := range map[string]func() error{
		"Migrate": func() error { return pgbarrier.Migrate(t.Context(), pool) },
		"Purge": func() error {
			_, err := pgbarrier.Purge(t.Context(), pool, time.Nanosecond)
			return err
		},
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		committed(t, pool)
	}
	for _, sql := range []string{
		"SELECT pgbarrier.create()", "SELECT pgbarrier.purge('1 microsecond')", "SELECT pgbarrier.purge('1 microsecond', 1)",
		"SELECT pgbarrier.purge_batch('1 microsecond', 1, NULL)", "DELETE FROM pgbarrier.barrier WHERE id = " + newest,
		"DELETE FROM pgbarrier.barrier", "TRUNCATE pgbarrier.barrier", "UPDATE pgbarrier.barrier SET id = gen_random_uuid()",
		"SET session_replication_role = replica; TRUNCATE pgbarrier.barrier; RESET session_replication_role",
		"SET session_replication_role = replica; DELETE FROM pgbarrier.barrier; RESET session_replication_role",
		"DELETE FROM pgbarrier.origin", "TRUNCATE pgbarrier.origin", "TRUNCATE pgbarrier.barrier, pgbarrier.origin",
		"DROP VIEW pgbarrier.horizon; DROP TRIGGER lost_row ON pgbarrier.barrier",
	} {
		fresh := committed(t, pool)
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		neverAborted(t, pool, nil, token, fresh)
		migrate(t, pool)
		neverAborted(t, pool, nil, token, fresh)
		wantExact(t, pool)
	}
}

func TestAVersion1OfAPublicationOfAllTablesIsMigrated(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	older, err := os.ReadFile("testdata/version1.sql")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, pool, "SET client_min_messages = error; CREATE PUBLICATION everything FOR ALL TABLES")
	execute(t, pool, string(older))
	execute(t, pool, "SELECT pgbarrier.create()")
	migrate(t, pool)
	wantExact(t, pool)
	purgeAll(t, pool)
}

func TestEveryTableHasAPrimaryKey(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	const tables = "SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'pgbarrier'::regnamespace AND c.relkind IN ('r', 'p')"
	if n := query[int](t, pool, tables); n < 2 {
		t.Errorf("there are %d tables: nothing is tested", n)
	}
	if without := query[*string](t, pool, "SELECT string_agg(c.relname, ', ') FROM pg_class c WHERE c.relnamespace = 'pgbarrier'::regnamespace AND c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"); without != nil {
		t.Errorf("no primary key: %s", *without)
	}
}
