package integration_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// tokensOfEveryKind are committed, aborted, and pending ones.
func tokensOfEveryKind(t *testing.T, pool *pgxpool.Pool) []pgbarrier.Token {
	t.Helper()
	tx := begin(t, pool)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return []pgbarrier.Token{committed(t, pool), aborted(t, pool), lostAtSavepoint(t, pool), create(t, tx)}
}

// wantForeign fails the test unless a check and a wait say that the tokens are of another database.
func wantForeign(t *testing.T, pool *pgxpool.Pool, tokens []pgbarrier.Token) {
	t.Helper()
	want(t, pool, pgbarrier.WrongDatabase, tokens...)
	l := run(t, pool, listener.Config{})
	own := committed(t, pool)
	for _, token := range tokens {
		wait(t, l, pgbarrier.ErrWrongDatabase, token)
		wait(t, l, pgbarrier.ErrWrongDatabase, own, token)
	}
	wait(t, l, nil, own)
}

func TestTokensAreForeignInADatabaseCopiedByTemplate(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tokens := tokensOfEveryKind(t, pool)[:3]
	url, name := pool.Config().ConnString(), pool.Config().ConnConfig.Database
	pool.Reset() // a template must have no sessions
	admin, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(context.Background()) })
	execute(t, admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
	eventually(t, "the template has no sessions", func() bool {
		_, err := admin.Exec(t.Context(), "CREATE DATABASE "+name+"_copy TEMPLATE "+name)
		return err == nil
	})
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), "DROP DATABASE "+name+"_copy WITH (FORCE)") })

	copied := open(t, strings.Replace(url, name, name+"_copy", 1))
	wantForeign(t, copied, tokens)
	wantErr(t, "Poll", pgbarrier.Poll(t.Context(), copied, tokens[1]), pgbarrier.ErrWrongDatabase)
	own := committed(t, copied)
	want(t, copied, pgbarrier.Committed, own)
	again := open(t, url)
	want(t, again, pgbarrier.WrongDatabase, own)
	want(t, again, pgbarrier.Committed, tokens[0])
}

// What pg_dump and pg_restore do with the data: the rows are the same, also the seed.
func TestTokensAreForeignInADatabaseWithCopiedRows(t *testing.T) {
	t.Parallel()
	pool, copied := migratedDatabase(t), migratedDatabase(t)
	tokens := tokensOfEveryKind(t, pool)
	for _, table := range []string{"pgbarrier.barrier", "pgbarrier.origin"} {
		execute(t, copied, "TRUNCATE "+table)
		var rows bytes.Buffer
		// As pg_dump has it: without generated columns.
		if _, err := connect(t, pool).PgConn().CopyTo(t.Context(), &rows, "COPY "+table+" TO STDOUT"); err != nil {
			t.Fatal(err)
		}
		if _, err := connect(t, copied).PgConn().CopyFrom(t.Context(), &rows, "COPY "+table+" FROM STDIN"); err != nil {
			t.Fatal(err)
		}
	}
	wantForeign(t, copied, tokens)
	want(t, copied, pgbarrier.Committed, committed(t, copied))

	// Restored over the database itself, the xids would still be right; but who can tell.
	execute(t, pool, "CREATE TEMP TABLE saved AS SELECT id, base FROM pgbarrier.origin; DELETE FROM pgbarrier.origin; INSERT INTO pgbarrier.origin SELECT * FROM saved")
	want(t, pool, pgbarrier.WrongDatabase, tokens...)
}

func TestTokensAreForeignInARestoredDump(t *testing.T) {
	t.Parallel()
	pool, restored := migratedDatabase(t), emptyDatabase(t)
	tokens := tokensOfEveryKind(t, pool)
	dump := exec.CommandContext(t.Context(), "pg_dump", "--no-owner", "-d", pool.Config().ConnString())
	var script, problem bytes.Buffer
	dump.Stdout, dump.Stderr = &script, &problem
	if err := dump.Run(); err != nil {
		// Not a promise of ours: pg_dump does not read a server newer than itself. Copied rows, above, are.
		t.Logf("this machine's pg_dump cannot dump this server (%v: %s)", err, problem.String())
		return
	}
	file := filepath.Join(t.TempDir(), "dump.sql")
	if err := os.WriteFile(file, script.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := psql(t, restored, "-o", os.DevNull, "-f", file); err != nil {
		t.Fatal(err)
	}
	want(t, restored, pgbarrier.WrongDatabase, tokens...)
	migrate(t, restored)
	wantForeign(t, restored, tokens)
	want(t, restored, pgbarrier.Committed, committed(t, restored))
}

// Maintenance must not make foreign tokens of a database's own.
func TestTheOriginOutlivesMaintenance(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	good, bad, lost := committed(t, pool), aborted(t, pool), lostAtSavepoint(t, pool)
	for _, sql := range []string{
		"VACUUM FREEZE pgbarrier.origin",
		"VACUUM FULL pgbarrier.origin",
		"VACUUM FULL FREEZE pgbarrier.origin",
		"CLUSTER pgbarrier.origin USING origin_pkey",
		"REINDEX TABLE pgbarrier.origin",
		"VACUUM FULL FREEZE pgbarrier.barrier",
		"CLUSTER pgbarrier.barrier USING barrier_pkey",
		"REINDEX TABLE pgbarrier.barrier",
		"VACUUM FREEZE",
		"ANALYZE",
		"ALTER TABLE pgbarrier.origin SET LOGGED",
	} {
		execute(t, pool, sql)
		want(t, pool, pgbarrier.Committed, good)
		want(t, pool, pgbarrier.Aborted, bad, lost)
	}
	if again := committed(t, pool); again.Origin != good.Origin {
		t.Errorf("the origin was %08x and is %08x", good.Origin, again.Origin)
	}
}

func TestTheOriginOutlivesARenamedDatabase(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	url, name := pool.Config().ConnString(), pool.Config().ConnConfig.Database
	admin, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(context.Background()) })
	pool.Close()
	rename := func(from, to string) {
		eventually(t, from+" is renamed", func() bool {
			_, err := admin.Exec(t.Context(), "ALTER DATABASE "+from+" RENAME TO "+to)
			return err == nil
		})
	}
	rename(name, name+"_renamed")
	renamed := open(t, strings.Replace(url, name, name+"_renamed", 1))
	want(t, renamed, pgbarrier.Committed, token)
	renamed.Close()
	rename(name+"_renamed", name)
}

// A base backup that is started as a primary of its own, and any other copy of the files, has the same origin and the same
// transaction ids: what each of them commits from then on, the other cannot tell from its own. It is given an origin of its
// own by one statement.
func TestAPhysicalCopyKeepsTheOriginUntilItIsGivenOneOfItsOwn(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	good, bad, lost := committed(t, r.pool), aborted(t, r.pool), lostAtSavepoint(t, r.pool)
	tx := begin(t, r.pool)
	running := create(t, tx)
	execute(t, tx, "INSERT INTO pgbarrier.barrier VALUES (gen_random_uuid(), '3')") // is written ahead
	r.catchUp(t)
	r.disconnect(t)
	r.promote(t) // while the original goes on
	copied := r.replica
	if origin(t, copied) != origin(t, r.pool) {
		t.Fatal("the copy has an origin of its own")
	}
	wantAsked(t, copied, nil, nil, good)
	wantAsked(t, copied, nil, pgbarrier.ErrAborted, bad, lost, running) // what was open at the time of the copy is lost to it
	wantExact(t, copied)
	commit(t, tx)
	wantAsked(t, r.pool, nil, nil, good, running)

	l := run(t, copied, forgetful)
	pendingHere := begin(t, copied)
	sub := pending(t, l, create(t, pendingHere))
	ours := committed(t, copied)
	execute(t, copied, "DELETE FROM pgbarrier.origin")
	commit(t, pendingHere)
	wantEnd(t, sub, pgbarrier.ErrWrongDatabase)
	if origin(t, copied) == origin(t, r.pool) {
		t.Fatal("the origins are still the same")
	}
	later := committed(t, r.pool)
	wantAsked(t, copied, l, pgbarrier.ErrWrongDatabase, good, bad, lost, running, ours, later)
	wantExact(t, copied)
	token := committed(t, copied)
	wait(t, l, nil, token)
	wantAsked(t, r.pool, nil, nil, good, running, later)
	wantAsked(t, r.pool, nil, pgbarrier.ErrAborted, bad, lost)
	wantAsked(t, r.pool, nil, pgbarrier.ErrWrongDatabase, token)
	migrate(t, copied)
	wantAsked(t, copied, l, nil, token)
	purgeAll(t, copied)
	wantExact(t, copied)
	wantExact(t, r.pool)
}

// The statement needs no superuser, and does no harm at any time.
func TestTheOwnerGivesADatabaseAnOriginOfItsOwn(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	role := newRole(t, pool)
	execute(t, pool, "GRANT CREATE ON DATABASE "+pool.Config().ConnConfig.Database+" TO "+role)
	owner := as(t, pool, role)
	migrate(t, owner)
	seen := map[string]bool{}
	for _, sql := range []string{
		"DELETE FROM pgbarrier.origin", "BEGIN ISOLATION LEVEL REPEATABLE READ; DELETE FROM pgbarrier.origin; COMMIT",
		"BEGIN ISOLATION LEVEL SERIALIZABLE; DELETE FROM pgbarrier.origin; COMMIT", "TRUNCATE pgbarrier.origin",
		"BEGIN; SAVEPOINT s; DELETE FROM pgbarrier.origin; ROLLBACK TO s; DELETE FROM pgbarrier.origin; DELETE FROM pgbarrier.origin; COMMIT",
		"BEGIN; DELETE FROM pgbarrier.origin; TRUNCATE pgbarrier.barrier; COMMIT", "BEGIN; DELETE FROM pgbarrier.origin; DELETE FROM pgbarrier.barrier; COMMIT",
	} {
		before := origin(t, owner)
		seen[before] = true
		tokens := []pgbarrier.Token{committed(t, owner), aborted(t, owner), lostAtSavepoint(t, owner)}
		execute(t, owner, sql)
		if now := origin(t, owner); seen[now] {
			t.Errorf("after %s the origin is %s, which was there before", sql, now)
		}
		if n := query[int](t, owner, "SELECT count(*) FROM pgbarrier.origin"); n != 1 {
			t.Errorf("after %s there are %d origins", sql, n)
		}
		wantAsked(t, owner, nil, pgbarrier.ErrWrongDatabase, tokens...)
		wantExact(t, owner)
		migrate(t, owner)
		wantExact(t, owner)
	}
	// At once, and beside a producer: it has the origin of when it asked for its token.
	tx := begin(t, owner)
	token := create(t, tx)
	done := make(chan error)
	for range 4 {
		conn := connect(t, owner)
		go func() {
			_, err := conn.Exec(t.Context(), "DELETE FROM pgbarrier.origin")
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	commit(t, tx)
	want(t, owner, pgbarrier.WrongDatabase, token)
	if n := query[int](t, owner, "SELECT count(*) FROM pgbarrier.origin"); n != 1 {
		t.Errorf("there are %d origins", n)
	}
	wantExact(t, owner)
}
