package integration_test

import (
	"bytes"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// The rows alone, into a database that has the schema: what somebody does whose migrations make the tables.
func TestRowsRestoredIntoAMigratedDatabaseChangeNothingOfItsOwn(t *testing.T) {
	for name, options := range map[string][]string{
		"in one transaction":                     {"--data-only", "--single-transaction"},
		"in one transaction, triggers disabled":  {"--data-only", "--single-transaction", "--disable-triggers"},
		"triggers disabled":                      {"--data-only", "--disable-triggers"},
		"in parallel":                            {"--data-only", "-j", "2"},
		"in one transaction, rows of one schema": {"--data-only", "--single-transaction", "-n", "pgbarrier"},
	} {
		for _, from := range []string{"another database", "itself, truncated", "itself, both tables truncated"} {
			t.Run(name+", of "+from, func(t *testing.T) {
				t.Parallel()
				source := migratedDatabase(t)
				tokens := []pgbarrier.Token{committed(t, source), committed(t, source)}
				file := dumped(t, source, "-Fc")
				if file == "" {
					return
				}
				target := source
				switch from {
				case "another database":
					target = migratedDatabase(t)
				case "itself, truncated":
					execute(t, target, "TRUNCATE pgbarrier.barrier")
				case "itself, both tables truncated":
					execute(t, target, "TRUNCATE pgbarrier.barrier, pgbarrier.origin")
				}
				here := origin(t, target)
				own, lost := []pgbarrier.Token{committed(t, target), committed(t, target)}, lostAtSavepoint(t, target)
				want(t, target, pgbarrier.Aborted, lost)

				err := restored(t, target, file, dumpFormat{restore: options})
				if from == "itself, truncated" && options[len(options)-1] == "--disable-triggers" {
					// The row of pgbarrier.origin is there already, as any other row of a table that was not truncated.
					if err == nil {
						t.Error("it worked, and may be promised")
					}
				} else if err != nil {
					t.Fatal(err)
				}
				if again := origin(t, target); again != here {
					t.Errorf("the origin was %s and is %s", here, again)
				}
				wantAsked(t, target, nil, nil, own...)
				neverAborted(t, target, nil, tokens...)
				if from == "itself, truncated" {
					wantByRows(t, target, nil, tokens...)
				} else {
					wantAsked(t, target, nil, pgbarrier.ErrWrongDatabase, tokens...)
				}
				// Without triggers anything may have happened; otherwise all is as certain as before.
				if options[len(options)-1] != "--disable-triggers" {
					want(t, target, pgbarrier.Aborted, lost)
					wantExact(t, target)
				}
				migrate(t, target)
				if err := pgbarrier.CheckSchema(t.Context(), target); err != nil {
					t.Error(err)
				}
				if again := origin(t, target); again != here {
					t.Errorf("the origin was %s and is %s after the migration", here, again)
				}
				wantAsked(t, target, nil, nil, own...)
				wantExact(t, target)
				purgeAll(t, target)
				neverAborted(t, target, nil, append(tokens, own...)...)
				wantExact(t, target)
			})
		}
	}
}

// A second row of the origin, which a restore without triggers brings, never counts, wherever the table has room for it.
func TestTheOriginThatWasFirstCountsWhateverHappensToTheTable(t *testing.T) {
	t.Parallel()
	for _, before := range []func(t *testing.T, pool *pgxpool.Pool){
		func(*testing.T, *pgxpool.Pool) {},
		func(t *testing.T, pool *pgxpool.Pool) { // a clone's, which leaves room in front
			execute(t, pool, "DELETE FROM pgbarrier.origin")
			execute(t, pool, "VACUUM pgbarrier.origin")
		},
	} {
		for range 4 { // ids are random
			pool := migratedDatabase(t)
			before(t, pool)
			here := origin(t, pool)
			token := committed(t, pool)
			execute(t, pool, "ALTER TABLE pgbarrier.origin DISABLE TRIGGER ALL")
			var row bytes.Buffer
			if _, err := connect(t, migratedDatabase(t)).PgConn().CopyTo(t.Context(), &row, "COPY pgbarrier.origin TO STDOUT"); err != nil {
				t.Fatal(err)
			}
			if _, err := connect(t, pool).PgConn().CopyFrom(t.Context(), &row, "COPY pgbarrier.origin FROM STDIN"); err != nil {
				t.Fatal(err)
			}
			execute(t, pool, "ALTER TABLE pgbarrier.origin ENABLE TRIGGER ALL")
			for _, sql := range []string{"SELECT 1", "VACUUM FULL pgbarrier.origin", "CLUSTER pgbarrier.origin USING origin_pkey", "SELECT pgbarrier.purge('1 day')"} {
				execute(t, pool, sql)
				if again := origin(t, pool); again != here {
					t.Fatalf("the origin was %s and is %s after %s", here, again, sql)
				}
			}
			migrate(t, pool)
			wantAsked(t, pool, nil, nil, token)
			wantExact(t, pool)
		}
	}
}
