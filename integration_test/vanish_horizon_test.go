package integration_test

import (
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

// marks are the ids of the horizon's rows, the latest first.
const marks = "SELECT id FROM pgbarrier.barrier WHERE id < '00000001-0000-0000-0000-000000000000' ORDER BY xid DESC"

// twoMarks leaves an older mark beside a newer one, as a purge in REPEATABLE READ does, and returns a token
// whose row the newer one tells of.
func twoMarks(t *testing.T, pool pgbarrier.DB, db beginner) pgbarrier.Token {
	t.Helper()
	token := committed(t, db)
	tx := begin(t, db, repeatableRead)
	execute(t, tx, "DELETE FROM pgbarrier.barrier WHERE id = $1", token.ID.String())
	commit(t, tx)
	if n := query[int](t, pool, "SELECT count(*) FROM ("+marks+") m"); n < 2 {
		t.Fatalf("there are %d marks: nothing is tested", n)
	}
	want(t, pool, pgbarrier.Expired, token)
	return token
}

// Whoever removes or changes rows by hand may meet the mark itself. An older one must not count then.
func TestTheHorizonDoesNotGoBackWithTheMarkThatWasLatest(t *testing.T) {
	for name, sql := range map[string]string{
		"DELETE":       "DELETE FROM pgbarrier.barrier WHERE id = (" + marks + " LIMIT 1)",
		"UPDATE":       "UPDATE pgbarrier.barrier SET xid = xid WHERE id = (" + marks + " LIMIT 1)",
		"UPDATE of id": "UPDATE pgbarrier.barrier SET id = gen_random_uuid() WHERE id = (" + marks + " LIMIT 1)",
	} {
		for _, role := range []string{"origin", "replica"} {
			t.Run(name+" as "+role, func(t *testing.T) {
				t.Parallel()
				pool := migratedDatabase(t)
				token := twoMarks(t, pool, pool)
				execute(t, pool, "BEGIN; SET LOCAL session_replication_role = "+role+"; "+sql+"; COMMIT")
				wantAsked(t, pool, nil, pgbarrier.ErrExpired, token)
				wantExact(t, pool)
			})
		}
	}
}

// Two sessions move the horizon at once, and the one that began first ends last.
func TestTheHorizonDoesNotGoBackWithASlowMark(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	old := committed(t, pool)
	execute(t, pool, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF current_setting('pgbarrier.slow', true) = 'on' THEN PERFORM pg_advisory_xact_lock(1); END IF; RETURN NULL; END $$;
		CREATE TRIGGER slow AFTER UPDATE ON pgbarrier.barrier FOR EACH ROW EXECUTE FUNCTION slow();
		ALTER TABLE pgbarrier.barrier ENABLE ALWAYS TRIGGER slow`)
	gate := begin(t, pool)
	execute(t, gate, "SELECT pg_advisory_xact_lock(1)")

	// As replication does it, where a mark is as late as possible.
	done := make(chan error, 1)
	slow := connect(t, pool)
	go func() {
		_, err := slow.Exec(t.Context(), "BEGIN; SET LOCAL session_replication_role = replica; SET LOCAL pgbarrier.slow = on; DELETE FROM pgbarrier.barrier WHERE id = '"+
			old.ID.String()+"'; COMMIT")
		done <- err
	}()
	eventually(t, "the mark is made and not yet the only one", func() bool {
		return query[bool](t, pool, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND NOT granted)", slow.PgConn().PID())
	})
	token := committed(t, pool)
	execute(t, pool, "DELETE FROM pgbarrier.barrier WHERE id = $1", token.ID.String())
	want(t, pool, pgbarrier.Expired, token)
	commit(t, gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantAsked(t, pool, nil, pgbarrier.ErrExpired, old, token)
	execute(t, pool, "DROP FUNCTION slow() CASCADE")
	wantExact(t, pool)
}

// A table that takes the place of the barriers', as archiving and repacking do it by hand, has no mark.
func TestAnotherTableInThePlaceOfTheBarriersTellsNoFalseAbort(t *testing.T) {
	for name, sql := range map[string]string{
		"empty":       "",
		"with a part": "INSERT INTO pgbarrier.barrier SELECT * FROM pgbarrier.archived ORDER BY id LIMIT 2;",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := migratedDatabase(t)
			tokens := []pgbarrier.Token{committed(t, pool), committed(t, pool), committed(t, pool)}
			execute(t, pool, `BEGIN; ALTER TABLE pgbarrier.barrier RENAME TO archived;
				CREATE TABLE pgbarrier.barrier (LIKE pgbarrier.archived INCLUDING ALL);`+sql+`COMMIT`)
			neverAborted(t, pool, nil, tokens...)
			migrate(t, pool)
			wantByRows(t, pool, nil, tokens...)
			wantExact(t, pool)
		})
	}
}

// A dump's rows have the xids of another cluster, which may be far ahead of this one's.
func TestRowsOfAnotherClusterDoNotMoveTheHorizonIntoTheFuture(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for _, role := range []string{"origin", "replica"} {
		for _, sql := range []string{"SELECT pgbarrier.purge('1 hour')", "DELETE FROM pgbarrier.barrier WHERE xid > '1000000000000'"} {
			execute(t, pool, "INSERT INTO pgbarrier.barrier SELECT pgbarrier.first_id(now() - interval '1 day' + n * interval '1 s'), '1000000000001' FROM generate_series(1, 100) n")
			execute(t, pool, "BEGIN; SET LOCAL session_replication_role = "+role+"; "+sql+"; COMMIT")
			if n := countBarriers(t, pool); n != 0 && sql[0] == 'D' {
				t.Fatalf("%d are left", n)
			}
			wantExact(t, pool)
			execute(t, pool, "DELETE FROM pgbarrier.barrier WHERE id >= '00000001-0000-0000-0000-000000000000'")
		}
	}
}
