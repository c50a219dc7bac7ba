package integration_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// What docs/security.md says of the roles, shown. A stranger is a role that can connect, without any
// grant. privileges_test.go shows what a role is refused, escalation_test.go that no code of a
// caller's runs with the owner's rights.

// A commit is announced to everybody. What a stranger hears names committed barriers only, and tells
// enough to guess all of a pending token but its random id.
func TestAStrangerHearsTokensOnlyOnceTheyAreCommitted(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	l := run(t, pool, listener.Config{})
	stranger := as(t, pool, newRole(t, pool))
	heard := listen(t, stranger)
	tx := begin(t, pool)
	token := create(t, tx)
	sub := pending(t, l, token)
	known := committed(t, pool)
	wantHeard(t, stranger, heard, known)

	// The transaction id of who is running can be asked by anybody.
	if running := query[bool](t, stranger, "SELECT NOT pg_visible_in_snapshot($1::text::xid8, pg_current_snapshot())", fmt.Sprint(token.XID)); !running {
		t.Error("a stranger does not see the transaction running")
	}
	before := l.Stats().Announcements
	guess := pgbarrier.Token{ID: known.ID, XID: token.XID, Origin: known.Origin}
	for i := range 256 {
		guess.ID[15] = byte(i)
		execute(t, stranger, "SELECT pg_notify('pgbarrier', $1)", guess.String())
	}
	eventually(t, "all is heard", func() bool { return l.Stats().Announcements >= before+256 })
	if err := sub.Err(); err != listener.ErrPending {
		t.Errorf("the wait ended with %v", err)
	}
	heard = listen(t, stranger)
	rollback(t, tx)
	wantEnd(t, sub, pgbarrier.ErrAborted)
	wantHeard(t, stranger, heard) // an abort is not announced
}

// Before the commit a token is a capability: whoever was handed it and can connect can end waits for
// it. The status stays true.
func TestWhoKnowsATokenCanAnnounceItTooEarly(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	stranger := as(t, pool, newRole(t, pool))
	token := create(t, begin(t, pool))
	sub := pending(t, l, token)
	execute(t, stranger, "SELECT pg_notify('pgbarrier', $1)", token.String())
	wantEnd(t, sub, nil)
	want(t, pool, pgbarrier.Pending, token)
	_, err := pgbarrier.Check(t.Context(), stranger, token)
	wantDenied(t, "to check", err)
}

// With every advisory lock of ours, an old snapshot and a listener that never reads.
func TestAStrangerKeepsNobodyFromCommittingWaitingOrPurging(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	strangers := as(t, pool, newRole(t, pool))
	locks := connect(t, strangers)
	for _, key := range []string{migrating, announcing, placing} {
		execute(t, locks, "SELECT pg_advisory_lock("+key+")")
	}
	stuck := listen(t, strangers)
	execute(t, stuck, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
	for _, sql := range []string{
		"LOCK TABLE pgbarrier.barrier IN ACCESS EXCLUSIVE MODE", "LOCK TABLE pgbarrier.barrier IN ACCESS SHARE MODE",
		"SELECT FROM pgbarrier.horizon FOR UPDATE", "SET CONSTRAINTS pgbarrier.announce IMMEDIATE",
	} {
		_, err := begin(t, strangers).Exec(t.Context(), sql)
		wantDenied(t, sql, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tx := begin(t, pool)
	token := create(t, tx)
	sub := pending(t, l, token)
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, sub, nil)
	wait(t, l, pgbarrier.ErrAborted, aborted(t, pool))
	purgeAll(t, pool)

	// Migrating takes turns, and has to be given up by hand.
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	migrate(t, pool) // nothing is to be done
	execute(t, pool, "COMMENT ON SCHEMA pgbarrier IS NULL")
	wantErr(t, "Migrate", pgbarrier.Migrate(ctx, pool), context.DeadlineExceeded)
	execute(t, pool, "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.pid = $1", locks.PgConn().PID())
	migrate(t, pool)
}

// The other advisory locks of sql/triggers.sql.
const (
	migrating = "7018962344107663490"
	placing   = "7018962344107663492" // held for a moment, to see that there is a place for NOTIFY's
)

// The settings that the trigger reads are the session's own.
func TestASettingOfAStrangersSilencesOnlyItself(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	heard := listen(t, pool)
	role := newRole(t, pool)
	grant(t, pool, "producer", role)
	producer := connect(t, as(t, pool, role))
	for _, setting := range []string{
		"pgbarrier.announce = 'off'",
		"pgbarrier.announced = '" + strings.Repeat("+", 100) + "'",
		"pgbarrier.announced = '" + strings.Repeat("ä", 100) + "'",
		"pgbarrier.announced = '" + strings.Repeat("x", 1_000_000) + "'",
	} {
		for _, scope := range []string{"SET ", "SET LOCAL "} {
			tx := begin(t, producer)
			token := create(t, tx)
			execute(t, tx, scope+setting)
			commit(t, tx)
			want(t, pool, pgbarrier.Committed, token)
			wantHeard(t, pool, heard)
			wantHeard(t, pool, heard, committed(t, pool))
			execute(t, producer, "RESET pgbarrier.announce; RESET pgbarrier.announced")
		}
	}
	for _, setting := range []string{"pgbarrier.announce = ''", "pgbarrier.announce = 'ON'", "pgbarrier.announced = 'ä'",
		"plpgsql.extra_errors = 'all'", "standard_conforming_strings = off", "transform_null_equals = on", "bytea_output = escape",
		"array_nulls = off", "default_transaction_read_only = off", "client_encoding = 'LATIN1'", "role = none", "enable_indexscan = off"} {
		tx := begin(t, producer)
		execute(t, tx, "SET LOCAL "+setting)
		token := create(t, tx)
		commit(t, tx)
		wantHeard(t, pool, heard, token)
	}
	tx := begin(t, producer)
	_, err := tx.Exec(t.Context(), "SET LOCAL session_replication_role = replica")
	wantDenied(t, "to switch triggers off", err)
}

// The trigger is deferred: before PostgreSQL 18 it runs as whoever the session is at COMMIT.
func TestWhoTheSessionIsAtCommitMakesNoDifference(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	heard := listen(t, pool)
	role, nobody := newRole(t, pool), newRole(t, pool)
	grant(t, pool, "producer", role)
	execute(t, pool, "GRANT "+nobody+" TO "+role)
	producer := connect(t, as(t, pool, role))
	for name, become := range map[string]func(tx pgx.Tx){
		"another role":    func(tx pgx.Tx) { execute(t, tx, "SET LOCAL ROLE "+nobody) },
		"without a grant": func(pgx.Tx) { execute(t, pool, "REVOKE ALL ON SCHEMA pgbarrier FROM "+role) },
	} {
		execute(t, pool, "GRANT USAGE ON SCHEMA pgbarrier TO "+role)
		tx := begin(t, producer)
		token := create(t, tx)
		become(tx)
		if err := tx.Commit(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantHeard(t, pool, heard, token)
	}
}

// A worker is told about any token that it knows, and about nothing else.
func TestAWorkerMayAskAboutAnybodysToken(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	role := newRole(t, pool)
	grant(t, pool, "worker", role)
	worker := as(t, pool, role)
	open, done := create(t, begin(t, pool)), committed(t, pool)
	want(t, worker, pgbarrier.Pending, open)
	want(t, worker, pgbarrier.Committed, done)
	almost := done
	almost.ID[15] ^= 1
	want(t, worker, pgbarrier.Aborted, almost) // no barrier of that name: not "there is another"
}
