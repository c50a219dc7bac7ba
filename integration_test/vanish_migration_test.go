package integration_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// version1 is a database with the schema's first version.
func version1(t *testing.T) *pgxpool.Pool {
	t.Helper()
	older, err := os.ReadFile("testdata/version1.sql")
	if err != nil {
		t.Fatal(err)
	}
	pool := emptyDatabase(t)
	execute(t, pool, string(older))
	return pool
}

// The statements of a process that works with version 1.
const (
	check1  = "SELECT version, origin, snapshot, outcomes FROM pgbarrier.check($1)"
	create1 = "SELECT pgbarrier.create()"
	purge1  = "SELECT pgbarrier.purge($1::bigint * interval '1 microsecond', $2::integer)"
)

// checked1 returns the letters that such a process is told, and fails the test unless the version is its own.
func checked1(t testing.TB, db pgbarrier.DB, tokens ...pgbarrier.Token) string {
	t.Helper()
	var texts []string
	for _, token := range tokens {
		texts = append(texts, token.String())
	}
	var version int
	var origin, snapshot, outcomes string
	if err := db.QueryRow(t.Context(), check1, texts).Scan(&version, &origin, &snapshot, &outcomes); err != nil {
		t.Fatal(err)
	}
	if version != 1 {
		t.Fatalf("a process of version 1 is told version %d", version)
	}
	return outcomes
}

// migration starts a migration and returns when it waits for what is open.
func migration(t *testing.T, pool *pgxpool.Pool) <-chan error {
	t.Helper()
	conn := connect(t, pool)
	done := make(chan error, 1)
	go func() { done <- pgbarrier.Migrate(t.Context(), conn) }()
	eventually(t, "the migration waits", func() bool {
		return query[bool](t, pool, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)", conn.PgConn().PID())
	})
	return done
}

func TestTokensOfVersion1KeepTheirOriginAndOutcomes(t *testing.T) {
	for name, purged := range map[string]bool{"nothing purged": false, "purged": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := version1(t)
			process := connect(t, pool) // of version 1, which goes on
			var expired []pgbarrier.Token
			if purged {
				expired = append(expired, committed(t, pool))
				nextMillisecond(t, pool)
				if n := query[int](t, process, purge1, 1, 1000); n != 1 {
					t.Fatalf("purged %d", n)
				}
				nextMillisecond(t, pool)
			}
			good, bad, lost := committed(t, pool), aborted(t, pool), lostAtSavepoint(t, pool)
			if letters := checked1(t, process, good, bad, lost); letters != "CAA" {
				t.Fatalf("before: %s", letters)
			}
			commits, aborts := begin(t, pool), begin(t, pool)
			toCommit, toAbort := create(t, commits), create(t, aborts)
			prepared := prepare(t, pool, "version 1 "+name)
			done := migration(t, pool)

			// While it waits for producers, waits go on, and producers end.
			if letters := checked1(t, process, good, bad, toCommit, toAbort, prepared); letters != "CAPPP" {
				t.Errorf("during: %s", letters)
			}
			commit(t, commits)
			rollback(t, aborts)
			if letters := checked1(t, process, toCommit, toAbort, prepared); letters != "CAP" {
				t.Errorf("during: %s", letters)
			}
			execute(t, pool, "COMMIT PREPARED 'version 1 "+name+"'")
			if err := <-done; err != nil {
				t.Fatal(err)
			}

			if version := query[int](t, pool, "SELECT pgbarrier.version()"); version != 2 {
				t.Errorf("the version is %d", version)
			}
			if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
				t.Error(err)
			}
			wantAsked(t, pool, nil, nil, good, toCommit, prepared)
			wantAsked(t, pool, nil, pgbarrier.ErrAborted, bad, toAbort)
			wantAsked(t, pool, nil, pgbarrier.ErrExpired, expired...)
			after := pgbarrier.Aborted
			if purged { // that something was purged is known, not what
				after = pgbarrier.Expired
			}
			want(t, pool, after, lost)
			wantExact(t, pool)
			if again := committed(t, pool); again.Origin != good.Origin {
				t.Errorf("the origin was %08x and is %08x", good.Origin, again.Origin)
			}

			// The process of version 1 goes on.
			if letters := checked1(t, process, good, bad, toCommit, toAbort, prepared, committed(t, pool), lostAtSavepoint(t, pool)); letters != "CACACCA" {
				t.Errorf("afterwards: %s", letters)
			}
			foreign := good
			foreign.Origin++
			if letters := checked1(t, process, foreign); letters != "W" {
				t.Errorf("of another database: %s", letters)
			}
			tx := begin(t, process)
			mine := query[pgbarrier.Token](t, tx, create1)
			if letters := checked1(t, pool, mine); letters != "P" {
				t.Errorf("its own, pending: %s", letters)
			}
			commit(t, tx)
			if letters := checked1(t, process, mine); letters != "C" {
				t.Errorf("its own: %s", letters)
			}
			nextMillisecond(t, pool)
			if n := query[int](t, process, purge1, 1, 2); n != 2 {
				t.Errorf("a batch of two purged %d", n)
			}
			for query[int](t, process, purge1, 1, 2) == 2 {
				continue
			}
			if letters := checked1(t, process, good, bad, mine); letters != "EAE" {
				t.Errorf("purged: %s", letters)
			}
			if letters := query[string](t, process, "SELECT outcomes FROM pgbarrier.visible($1)", []string{good.String()}); letters != "E" {
				t.Errorf("visible: %s", letters)
			}
			wantExact(t, pool)
		})
	}
}

func TestGrantsOfVersion1AreCarriedOver(t *testing.T) {
	t.Parallel()
	pool := version1(t)
	producer, worker, purger, reader, nobody := newRole(t, pool), newRole(t, pool), newRole(t, pool), newRole(t, pool), newRole(t, pool)
	execute(t, pool, "GRANT USAGE ON SCHEMA pgbarrier TO "+producer+", "+worker+", "+purger+", "+reader+", "+nobody+`;
		GRANT EXECUTE ON FUNCTION pgbarrier.create(boolean) TO `+producer+`;
		GRANT EXECUTE ON FUNCTION pgbarrier.version(), pgbarrier.check(text[]), pgbarrier.watch(text[], xid8[], integer, integer) TO `+worker+`;
		GRANT EXECUTE ON FUNCTION pgbarrier.purge(interval, integer) TO `+purger+`;
		GRANT EXECUTE ON FUNCTION pgbarrier.visible(text[]) TO `+reader)
	token := committed(t, as(t, pool, producer))
	migrate(t, pool)
	for role, can := range map[string][]string{producer: {"create"}, worker: {"check", "look at the schema"}, purger: {"purge"}, reader: {"await a replica"}, nobody: nil} {
		db := as(t, pool, role)
		for name, job := range jobs {
			err := job(t.Context(), db, token)
			allowed := false
			for _, c := range can {
				allowed = allowed || c == name
			}
			if !allowed {
				wantDenied(t, name, err)
			} else if err != nil {
				t.Errorf("cannot %s: %v", name, err)
			}
		}
	}
	if letters := checked1(t, as(t, pool, worker), token); letters != "C" {
		t.Errorf("the worker of version 1: %s", letters)
	}
	if n := query[int](t, as(t, pool, purger), purge1, 3_600_000_000, 1); n != 0 {
		t.Errorf("the purger of version 1: %d", n)
	}
}

// What is left of version 1, whatever was missing of it.
func TestNothingOfVersion1IsLeft(t *testing.T) {
	for name, sql := range map[string]string{
		"complete":                "",
		"restored without rows":   "ALTER TABLE pgbarrier.barrier DISABLE TRIGGER ALL; TRUNCATE pgbarrier.identity, pgbarrier.horizon, pgbarrier.barrier; ALTER TABLE pgbarrier.barrier ENABLE TRIGGER ALL",
		"without its identity":    "DROP TABLE pgbarrier.identity",
		"without its horizon":     "DROP TABLE pgbarrier.horizon",
		"without its barriers":    "DROP TABLE pgbarrier.barrier",
		"without its origin":      "DROP FUNCTION pgbarrier.origin()",
		"without its version":     "DROP FUNCTION pgbarrier.version()",
		"without its watch":       "DROP FUNCTION pgbarrier.watch(text[], xid8[], integer, integer)",
		"without check":           "DROP FUNCTION pgbarrier.check(text[])",
		"without truncated":       "DROP FUNCTION pgbarrier.truncated() CASCADE",
		"without a horizon's row": "DELETE FROM pgbarrier.horizon",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := version1(t)
			token := committed(t, pool)
			execute(t, pool, "SET client_min_messages = warning; "+sql)
			migrate(t, pool)
			if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
				t.Error(err)
			}
			neverAborted(t, pool, nil, token)
			wantExact(t, pool)

			const parts = `SELECT string_agg(part, chr(10) ORDER BY part) FROM (
				SELECT p.oid::regprocedure::text AS part FROM pg_proc p WHERE p.pronamespace = 'pgbarrier'::regnamespace
					AND p.proname NOT IN ('new_id', 'token', 'origin') -- with which a create() goes on that waits for the migration
				UNION ALL SELECT concat(c.relkind, ' ', c.oid::regclass) FROM pg_class c WHERE c.relnamespace = 'pgbarrier'::regnamespace
				UNION ALL SELECT concat('trigger ', t.tgname, ' ', t.tgenabled, ' of ', t.tgrelid::regclass) FROM pg_trigger t WHERE NOT t.tgisinternal
			) x`
			if fresh, now := query[string](t, migratedDatabase(t), parts), query[string](t, pool, parts); now != fresh {
				t.Errorf("there is\n%s\nwant\n%s", now, fresh)
			}
			execute(t, pool, "TRUNCATE pgbarrier.barrier")
			neverAborted(t, pool, nil, token)
			wantExact(t, pool)
		})
	}
}

// Producers and waits of version 1 run all the time, and none of their statements fails because of the migration.
func TestAMigrationUnderLoadFailsNoStatementOfVersion1AndGivesNoWrongOutcome(t *testing.T) {
	t.Parallel()
	pool := version1(t)
	var wrong, created atomic.Int64
	var failed sync.Map
	fail := func(what string, err error) {
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) {
			what += " " + pgErr.Code + " " + pgErr.Message
		} else {
			what += " " + err.Error()
		}
		n, _ := failed.LoadOrStore(what, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
	letter := func(db pgbarrier.DB, token string) string {
		var version int
		var origin, snapshot, outcomes string
		if err := db.QueryRow(t.Context(), check1, []string{token}).Scan(&version, &origin, &snapshot, &outcomes); err != nil {
			fail("check", err)
			return "?"
		}
		if version != 1 {
			fail("check", errors.New("tells version 2"))
		}
		return outcomes
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	for i := range 6 {
		conn := connect(t, pool)
		load.Go(func() {
			for n := 0; !stopped(stop); n++ {
				var token string
				planned := "C"
				err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
					if err := tx.QueryRow(t.Context(), create1).Scan(&token); err != nil {
						return err
					}
					if (i+n)%3 == 0 {
						planned = "A"
						return context.Canceled
					}
					return nil
				})
				if err != nil && err != context.Canceled {
					fail("produce", err)
					continue
				}
				created.Add(1)
				if seen := letter(conn, token); seen != planned && seen != "?" {
					t.Errorf("%s reads %s, want %s", token, seen, planned)
					wrong.Add(1)
				}
			}
		})
	}
	eventually(t, "there is load", func() bool { return created.Load() > 200 })
	if err := pgbarrier.Migrate(t.Context(), pool); err != nil {
		t.Error(err)
	}
	after := created.Load()
	eventually(t, "there is load", func() bool { return created.Load() > after+200 })
	close(stop)
	load.Wait()
	failed.Range(func(what, n any) bool {
		t.Errorf("%d times: %s", n.(*atomic.Int64).Load(), what)
		return true
	})
	wantExact(t, pool)
}
