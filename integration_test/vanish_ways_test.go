package integration_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

const (
	allBarriers = "id >= '00000001-0000-0000-0000-000000000000'"
	newest      = "(SELECT id FROM pgbarrier.barrier WHERE " + allBarriers + " ORDER BY id DESC LIMIT 1)"
	someOf      = "(SELECT id FROM pgbarrier.barrier WHERE " + allBarriers + " ORDER BY id OFFSET 1 LIMIT 2)"
)

// vanishings are statements that make barriers go other than by purge, in one transaction.
var vanishings = []struct {
	name, sql string
	since     int // major
}{
	{name: "TRUNCATE", sql: "TRUNCATE pgbarrier.barrier"},
	{name: "TRUNCATE ONLY, with all options", sql: "TRUNCATE TABLE ONLY pgbarrier.barrier RESTART IDENTITY CASCADE"},
	{name: "TRUNCATE twice", sql: "TRUNCATE pgbarrier.barrier; TRUNCATE pgbarrier.barrier"},
	{name: "TRUNCATE in a savepoint", sql: "SAVEPOINT s; TRUNCATE pgbarrier.barrier; RELEASE SAVEPOINT s"},
	{name: "TRUNCATE rolled back and done again", sql: "SAVEPOINT s; TRUNCATE pgbarrier.barrier; ROLLBACK TO SAVEPOINT s; TRUNCATE pgbarrier.barrier"},
	{name: "TRUNCATE rolled back", sql: "SAVEPOINT s; TRUNCATE pgbarrier.barrier; ROLLBACK TO SAVEPOINT s"},
	{name: "DELETE of all", sql: "DELETE FROM pgbarrier.barrier"},
	{name: "DELETE of all barriers", sql: "DELETE FROM pgbarrier.barrier WHERE " + allBarriers},
	{name: "DELETE of some", sql: "DELETE FROM pgbarrier.barrier WHERE id IN " + someOf},
	{name: "DELETE of the newest", sql: "DELETE FROM pgbarrier.barrier WHERE id = " + newest},
	{name: "DELETE of the oldest", sql: "DELETE FROM pgbarrier.barrier WHERE id = (SELECT min(id::text)::uuid FROM pgbarrier.barrier WHERE " + allBarriers + ")"},
	{name: "DELETE of the marks alone", sql: "DELETE FROM pgbarrier.barrier WHERE NOT " + allBarriers},
	{name: "DELETE, and TRUNCATE", sql: "DELETE FROM pgbarrier.barrier WHERE id = " + newest + "; TRUNCATE pgbarrier.barrier"},
	{name: "DELETE in savepoints", sql: "SAVEPOINT s; DELETE FROM pgbarrier.barrier WHERE id = " + newest +
		"; SAVEPOINT s2; DELETE FROM pgbarrier.barrier; ROLLBACK TO SAVEPOINT s2; RELEASE SAVEPOINT s"},
	{name: "DELETE with RETURNING, in a WITH", sql: "WITH gone AS (DELETE FROM pgbarrier.barrier WHERE id IN " + someOf + " RETURNING id) SELECT count(*) FROM gone"},
	{name: "DELETE USING", sql: "DELETE FROM pgbarrier.barrier b USING (SELECT id FROM pgbarrier.barrier WHERE id IN " + someOf + ") x WHERE x.id = b.id"},
	{name: "DELETE of what a cursor is at", sql: "DECLARE c CURSOR FOR SELECT id FROM pgbarrier.barrier WHERE " + allBarriers + "; FETCH c; DELETE FROM pgbarrier.barrier WHERE CURRENT OF c"},
	{name: "DELETE row by row", sql: `DO $$ DECLARE r record; BEGIN
		FOR r IN SELECT id FROM pgbarrier.barrier WHERE ` + allBarriers + ` ORDER BY id LOOP DELETE FROM pgbarrier.barrier WHERE id = r.id; END LOOP; END $$`},
	{name: "DELETE in a block with EXCEPTION", sql: `DO $$ BEGIN
		BEGIN DELETE FROM pgbarrier.barrier; RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
		BEGIN DELETE FROM pgbarrier.barrier WHERE id IN ` + someOf + `; EXCEPTION WHEN OTHERS THEN RAISE; END; END $$`},
	{name: "TRUNCATE in a block with EXCEPTION", sql: `DO $$ BEGIN
		BEGIN TRUNCATE pgbarrier.barrier; RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
		BEGIN TRUNCATE pgbarrier.barrier; EXCEPTION WHEN OTHERS THEN RAISE; END; END $$`},
	{name: "MERGE … DELETE", since: 15, sql: "MERGE INTO pgbarrier.barrier b USING (SELECT id FROM pgbarrier.barrier WHERE id IN " + someOf + ") x ON x.id = b.id WHEN MATCHED THEN DELETE"},
	{name: "MERGE … UPDATE", since: 15, sql: "MERGE INTO pgbarrier.barrier b USING (SELECT id FROM pgbarrier.barrier WHERE id IN " + someOf + ") x ON x.id = b.id WHEN MATCHED THEN UPDATE SET id = gen_random_uuid()"},
	{name: "UPDATE of ids", sql: "UPDATE pgbarrier.barrier SET id = gen_random_uuid() WHERE id IN " + someOf},
	{name: "UPDATE of every id", sql: "UPDATE pgbarrier.barrier SET id = gen_random_uuid()"},
	{name: "INSERT … ON CONFLICT DO UPDATE of the id", sql: "INSERT INTO pgbarrier.barrier (id) SELECT id FROM pgbarrier.barrier WHERE id IN " + someOf + " ON CONFLICT (id) DO UPDATE SET id = gen_random_uuid()"},
	{name: "DELETE and INSERT of a copy", sql: "CREATE TEMP TABLE copied ON COMMIT DROP AS SELECT * FROM pgbarrier.barrier WHERE id IN " + someOf + "; DELETE FROM pgbarrier.barrier; INSERT INTO pgbarrier.barrier SELECT * FROM copied"},
	{name: "TRUNCATE and INSERT of a copy", sql: "CREATE TEMP TABLE copied ON COMMIT DROP AS SELECT * FROM pgbarrier.barrier; TRUNCATE pgbarrier.barrier; INSERT INTO pgbarrier.barrier SELECT * FROM copied WHERE id <> (SELECT id FROM copied WHERE " + allBarriers + " ORDER BY id DESC LIMIT 1)"},
}

// forgetful is a listener that remembers no commit that it has heard of, which would still be true.
var forgetful = listener.Config{PollOnly: true}

// whoCleans are the sessions in which that is done.
var whoCleans = map[string]struct{ begin, settings string }{
	"ordinary":        {begin: "BEGIN"},
	"replication":     {begin: "BEGIN", settings: "SET LOCAL session_replication_role = replica"},
	"REPEATABLE READ": {begin: "BEGIN ISOLATION LEVEL REPEATABLE READ", settings: "SELECT count(*) FROM pgbarrier.barrier"},
	"SERIALIZABLE":    {begin: "BEGIN ISOLATION LEVEL SERIALIZABLE"},
	"not the owner":   {begin: "BEGIN"},
	"by itself":       {begin: "BEGIN", settings: "SET LOCAL search_path = pgbarrier, public; SET LOCAL check_function_bodies = off; SET LOCAL row_security = off"},
}

// However rows go, what was committed has expired, by every way to ask; what is still there is committed; and of what
// comes later everything is certain again, without any repair.
func TestRowsThatVanishHaveExpiredAndNeverAborted(t *testing.T) {
	for who, session := range whoCleans {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			pool := migratedDatabase(t)
			l := run(t, pool, forgetful)
			cleaner := pool
			if who == "not the owner" {
				role := newRole(t, pool)
				execute(t, pool, "GRANT USAGE ON SCHEMA pgbarrier TO "+role+"; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON pgbarrier.barrier TO "+role+
					"; GRANT TEMP ON DATABASE "+pool.Config().ConnConfig.Database+" TO "+role)
				cleaner = as(t, pool, role)
			}
			for _, v := range vanishings {
				if server.Major() < v.since {
					continue
				}
				t.Run(v.name, func(t *testing.T) {
					execute(t, pool, "DELETE FROM pgbarrier.barrier WHERE "+allBarriers)
					var tokens []pgbarrier.Token
					for range 4 {
						tokens = append(tokens, committed(t, pool))
						nextMillisecond(t, pool) // so that ids are in order
					}
					lost := lostAtSavepoint(t, pool)
					open := begin(t, pool) // not ended by then
					if v.name[:8] != "TRUNCATE" && v.name != "DELETE, and TRUNCATE" {
						tokens = append(tokens, create(t, open))
					}
					execute(t, cleaner, session.begin+"; "+session.settings+"; "+v.sql+"; COMMIT")
					commit(t, open)

					expired := wantByRows(t, pool, l, tokens...)
					if never := v.name == "TRUNCATE rolled back" || v.name == "DELETE of the marks alone"; (expired == 0) != never {
						t.Errorf("%d have expired: nothing is tested", expired)
					}
					statuses, err := pgbarrier.Check(t.Context(), pool, lost)
					if err != nil || statuses[0] != pgbarrier.Aborted && statuses[0] != pgbarrier.Expired {
						t.Errorf("what was lost is %v, %v", statuses, err)
					}
					wantExact(t, pool)
				})
			}
		})
	}
}

// What test cleaners do: every table of the database that is not the system's.
func TestACleanerOfAllTablesMakesTokensForeignAndNeverAborted(t *testing.T) {
	const tables = "SELECT string_agg(format('%I.%I', table_schema, table_name), ', ') FROM information_schema.tables WHERE table_schema = 'pgbarrier' AND table_type = 'BASE TABLE'"
	const each = "DO $$ DECLARE t record; BEGIN FOR t IN SELECT table_schema AS s, table_name AS n FROM information_schema.tables WHERE table_schema = 'pgbarrier' AND table_type = 'BASE TABLE' ORDER BY 2 %s LOOP EXECUTE format('%s %%I.%%I', t.s, t.n); END LOOP; END $$"
	for name, sql := range map[string]string{
		"TRUNCATE of all at once":         "DO $$ BEGIN EXECUTE 'TRUNCATE ' || (" + tables + ") || ' RESTART IDENTITY CASCADE'; END $$",
		"TRUNCATE one by one":             fmt.Sprintf(each, "", "TRUNCATE"),
		"TRUNCATE one by one, backwards":  fmt.Sprintf(each, "DESC", "TRUNCATE"),
		"DELETE one by one":               fmt.Sprintf(each, "", "DELETE FROM"),
		"DELETE one by one, backwards":    fmt.Sprintf(each, "DESC", "DELETE FROM"),
		"TRUNCATE of all at once, twice":  "DO $$ BEGIN FOR i IN 1..2 LOOP EXECUTE 'TRUNCATE ' || (" + tables + "); END LOOP; END $$",
		"DELETE and then TRUNCATE of all": fmt.Sprintf(each, "", "DELETE FROM") + ";" + fmt.Sprintf(each, "", "TRUNCATE"),
	} {
		for _, role := range []string{"origin", "replica"} {
			t.Run(name+" as "+role, func(t *testing.T) {
				t.Parallel()
				pool := migratedDatabase(t)
				l := run(t, pool, forgetful)
				for range 2 { // between tests, again and again
					tokens := []pgbarrier.Token{committed(t, pool), committed(t, pool), aborted(t, pool), lostAtSavepoint(t, pool)}
					execute(t, pool, "BEGIN; SET LOCAL session_replication_role = "+role+"; "+sql+"; COMMIT")
					wantAsked(t, pool, l, pgbarrier.ErrWrongDatabase, tokens...)
					wantExact(t, pool)
					wait(t, l, nil, committed(t, pool))
				}
				if n := query[int](t, pool, "SELECT count(*) FROM pgbarrier.origin"); n != 1 {
					t.Errorf("there are %d origins", n)
				}
			})
		}
	}
}

// A transaction that made a barrier itself, and then cleans: its own is among the rows.
func TestATransactionThatDeletesItsOwnBarrierTellsNoFalseAbort(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, forgetful)
	for _, options := range whoCleans {
		tx, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn := tx.Conn()
		other := committed(t, pool)
		execute(t, conn, options.begin+"; "+options.settings)
		own := query[pgbarrier.Token](t, conn, "SELECT pgbarrier.create()")
		execute(t, conn, "DELETE FROM pgbarrier.barrier WHERE "+allBarriers)
		kept := query[pgbarrier.Token](t, conn, "SELECT pgbarrier.create()")
		execute(t, conn, "SAVEPOINT s")
		lost := query[pgbarrier.Token](t, conn, "SELECT pgbarrier.create()")
		execute(t, conn, "ROLLBACK TO SAVEPOINT s")
		want(t, pool, pgbarrier.Pending, own, kept, lost)
		execute(t, conn, "COMMIT")
		tx.Release()
		wantAsked(t, pool, l, pgbarrier.ErrExpired, other)
		want(t, pool, pgbarrier.Expired, own)
		wantAsked(t, pool, l, nil, kept)
		neverAborted(t, pool, l, own)
		wantExact(t, pool)
	}

	// PostgreSQL refuses to truncate what has pending triggers, ours among them.
	conn := connect(t, pool)
	token := query[pgbarrier.Token](t, begin(t, conn), "SELECT pgbarrier.create()")
	if _, err := conn.Exec(t.Context(), "TRUNCATE pgbarrier.barrier"); err == nil {
		execute(t, conn, "COMMIT")
		wantAsked(t, pool, l, pgbarrier.ErrExpired, token)
	}
}

func TestACleaningThatIsPreparedExpiresRowsOnlyWhenItIsCommitted(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for _, sql := range []string{"DELETE FROM pgbarrier.barrier", "DELETE FROM pgbarrier.barrier WHERE id = " + newest, "SELECT pgbarrier.purge('1 microsecond')"} {
		for _, end := range []string{"ROLLBACK", "COMMIT"} {
			token := committed(t, pool)
			nextMillisecond(t, pool)
			conn := connect(t, pool)
			execute(t, conn, "BEGIN; "+sql)
			name := "'clean " + token.String() + "'"
			execute(t, conn, "PREPARE TRANSACTION "+name)
			wantAsked(t, pool, nil, nil, token)
			execute(t, pool, end+" PREPARED "+name)
			_ = conn.Close(context.WithoutCancel(t.Context()))
			wantAsked(t, pool, nil, map[string]error{"ROLLBACK": nil, "COMMIT": pgbarrier.ErrExpired}[end], token)
			wantExact(t, pool)
		}
	}
}

// Another table's rows may take barriers along.
func TestBarriersThatVanishWithTheRowsOfAnotherTableHaveExpired(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE parent (id integer PRIMARY KEY); ALTER TABLE pgbarrier.barrier ADD parent integer REFERENCES parent ON DELETE CASCADE")
	for _, sql := range []string{"DELETE FROM parent", "TRUNCATE parent CASCADE"} {
		execute(t, pool, "INSERT INTO parent VALUES (1)")
		tokens := []pgbarrier.Token{committed(t, pool), committed(t, pool), committed(t, pool)}
		execute(t, pool, "UPDATE pgbarrier.barrier SET parent = 1 WHERE id = $1", tokens[1].ID.String())
		want(t, pool, pgbarrier.Committed, tokens...)
		execute(t, pool, sql)
		if expired := wantByRows(t, pool, nil, tokens...); expired == 0 {
			t.Error("none has expired: nothing is tested")
		}
		wantExact(t, pool)
	}
}
