package integration_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// olderReaders are transactions of every kind whose one snapshot is from before what comes.
func olderReaders(t *testing.T, pool *pgxpool.Pool) map[string]pgx.Tx {
	t.Helper()
	readers := map[string]pgx.Tx{
		"REPEATABLE READ": begin(t, pool, repeatableRead), "SERIALIZABLE": begin(t, pool, serializable),
		"that writes": begin(t, pool, repeatableRead), "imported": begin(t, pool, repeatableRead), "imported later": begin(t, pool, repeatableRead),
	}
	execute(t, readers["SERIALIZABLE"], "SELECT 1")
	execute(t, readers["that writes"], "SELECT pg_current_xact_id()")
	execute(t, readers["imported"], "SET TRANSACTION SNAPSHOT '"+query[string](t, readers["REPEATABLE READ"], "SELECT pg_export_snapshot()")+"'")
	return readers
}

// snapshotWays are what checks in a transaction with one snapshot are asked with; each returns a letter.
var snapshotWays = []string{
	"SELECT outcomes FROM pgbarrier.check(ARRAY[$1])",
	"SELECT outcomes FROM pgbarrier.check(ARRAY[split_part($1, '.', 2)::uuid], ARRAY[split_part($1, '.', 3)::xid8])",
	"SELECT outcomes FROM pgbarrier.visible(ARRAY[$1])",
	"SELECT left(pgbarrier.status($1), 1)",
}

// Some of these are not MVCC-safe: they show older snapshots an empty table.
func TestAnOlderSnapshotNeverReadsACommittedBarrierAsAborted(t *testing.T) {
	const random = "ALTER TABLE pgbarrier.barrier ADD extra uuid DEFAULT gen_random_uuid()"
	for name, sql := range map[string]string{
		"TRUNCATE":                  "TRUNCATE pgbarrier.barrier",
		"TRUNCATE by replication":   "SET session_replication_role = replica; TRUNCATE pgbarrier.barrier; RESET session_replication_role",
		"TRUNCATE without triggers": "BEGIN; ALTER TABLE pgbarrier.barrier DISABLE TRIGGER ALL; TRUNCATE pgbarrier.barrier; ALTER TABLE pgbarrier.barrier ENABLE TRIGGER ALL; COMMIT",
		"TRUNCATE of all":           "TRUNCATE pgbarrier.barrier, pgbarrier.origin",
		"TRUNCATE, and a purge":     "TRUNCATE pgbarrier.barrier; SELECT pgbarrier.purge('1 day')",
		"TRUNCATE and rows again":   "BEGIN; CREATE TEMP TABLE copied AS SELECT * FROM pgbarrier.barrier; TRUNCATE pgbarrier.barrier; INSERT INTO pgbarrier.barrier SELECT * FROM copied; COMMIT",
		"DELETE":                    "DELETE FROM pgbarrier.barrier",
		"DELETE of the newest":      "DELETE FROM pgbarrier.barrier WHERE id = " + newest,
		"DELETE by replication":     "SET session_replication_role = replica; DELETE FROM pgbarrier.barrier; RESET session_replication_role",
		"DELETE of the origin":      "DELETE FROM pgbarrier.origin",
		"TRUNCATE of the origin":    "TRUNCATE pgbarrier.origin",
		"purge":                     "SELECT pgbarrier.purge('1 microsecond')",
		"purge, and VACUUM":         "SELECT pgbarrier.purge('1 microsecond')",
		"a rewrite":                 random,
		"a rewrite, and a purge":    random + "; SELECT pgbarrier.purge('1 microsecond')",
		"UNLOGGED":                  "ALTER TABLE pgbarrier.barrier SET UNLOGGED",
		"CLUSTER":                   "CLUSTER pgbarrier.barrier USING barrier_pkey",
		"VACUUM FULL":               "VACUUM FULL pgbarrier.barrier",
		"a new table":               "DROP TABLE pgbarrier.barrier CASCADE",
		"another table":             "BEGIN; ALTER TABLE pgbarrier.barrier RENAME TO archived; CREATE TABLE pgbarrier.barrier (LIKE pgbarrier.archived INCLUDING ALL); COMMIT",
		"another schema":            "DROP SCHEMA pgbarrier CASCADE",
		"UPDATE of ids":             "UPDATE pgbarrier.barrier SET id = gen_random_uuid()",
	} {
		for _, migrated := range []string{"", ", and Migrate"} {
			t.Run(name+migrated, func(t *testing.T) {
				t.Parallel()
				pool := migratedDatabase(t)
				tokens := []pgbarrier.Token{committed(t, pool), committed(t, pool)}
				nextMillisecond(t, pool)
				readers := olderReaders(t, pool)
				snapshot := query[string](t, readers["that writes"], "SELECT pg_export_snapshot()")
				newer := committed(t, pool)
				execute(t, pool, sql)
				if migrated != "" {
					migrate(t, pool)
				}
				execute(t, pool, "VACUUM pg_trigger")
				if name == "purge, and VACUUM" {
					execute(t, pool, "VACUUM pgbarrier.barrier")
				}
				execute(t, readers["imported later"], "SET TRANSACTION SNAPSHOT '"+snapshot+"'")
				for who, reader := range readers {
					for i, token := range append(tokens, newer) {
						for _, ask := range snapshotWays {
							execute(t, reader, "SAVEPOINT s")
							var letter string
							err := reader.QueryRow(t.Context(), ask, token.String()).Scan(&letter)
							if letter == "A" || letter == "a" {
								t.Errorf("%s, %s: committed token %d reads %s", who, ask, i, letter)
							}
							if name == "purge" && i < len(tokens) && letter != "C" && letter != "c" {
								t.Errorf("%s, %s: token %d, whose row can be read, reads %s, %v", who, ask, i, letter, err)
							}
							execute(t, reader, "ROLLBACK TO SAVEPOINT s")
						}
					}
					rollback(t, reader)
				}
				neverAborted(t, pool, nil, append(tokens, newer)...)
			})
		}
	}
}

func TestASnapshotFromBeforeTheMigrationNeverReadsACommittedBarrierAsAborted(t *testing.T) {
	t.Parallel()
	older, err := os.ReadFile("testdata/version1.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, purged := range []bool{false, true} {
		pool := emptyDatabase(t)
		execute(t, pool, string(older))
		var tokens []pgbarrier.Token
		for range 3 {
			tokens = append(tokens, committed(t, pool))
		}
		if purged {
			nextMillisecond(t, pool)
			execute(t, pool, "SELECT pgbarrier.purge('1 microsecond', 1)")
		}
		readers := olderReaders(t, pool)
		snapshot := query[string](t, readers["that writes"], "SELECT pg_export_snapshot()")
		migrate(t, pool)
		execute(t, readers["imported later"], "SET TRANSACTION SNAPSHOT '"+snapshot+"'")
		for who, reader := range readers {
			for _, token := range tokens {
				for _, ask := range snapshotWays {
					execute(t, reader, "SAVEPOINT s")
					var letter string
					err := reader.QueryRow(t.Context(), ask, token.String()).Scan(&letter)
					if letter == "A" || letter == "a" {
						t.Errorf("%s, %s: a committed token reads %s, %v", who, ask, letter, err)
					}
					execute(t, reader, "ROLLBACK TO SAVEPOINT s")
				}
			}
			rollback(t, reader)
		}
		neverAborted(t, pool, nil, tokens...)
		wantExact(t, pool)
	}
}
