package integration_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/notify"
)

const announcing = "7018962344107663491" // the advisory lock of sql/triggers.sql

func createUnannounced(t testing.TB, tx pgx.Tx) pgbarrier.Token {
	t.Helper()
	return create(t, tx, notify.WithoutAnnouncement())
}

// quietDatabase is a migrated database on a server of its own. On one that others use, a commit is not
// announced while any of them notifies.
func quietDatabase(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool := open(t, devpg.ForTest(t, devpg.Config{Settings: map[string]string{"fsync": "off"}}).URL())
	migrate(t, pool)
	return pool
}

// listen is a session that hears announcements from now on.
func listen(t testing.TB, pool *pgxpool.Pool) *pgx.Conn {
	t.Helper()
	conn := connect(t, pool)
	execute(t, conn, "LISTEN pgbarrier")
	return conn
}

// hear returns all that has been announced to the listener until now. PostgreSQL delivers in the
// order of commits, so what comes before our own word is all.
func hear(t testing.TB, pool *pgxpool.Pool, listener *pgx.Conn) []string {
	t.Helper()
	execute(t, pool, "SELECT pg_notify('pgbarrier', 'that is all')")
	var heard []string
	for {
		n, err := listener.WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n.Payload == "that is all" {
			return heard
		}
		heard = append(heard, n.Payload)
	}
}

func wantHeard(t testing.TB, pool *pgxpool.Pool, listener *pgx.Conn, tokens ...pgbarrier.Token) {
	t.Helper()
	var texts []string
	for _, token := range tokens {
		texts = append(texts, token.String())
	}
	if heard := hear(t, pool, listener); !slices.Equal(heard, texts) {
		t.Fatalf("heard %q, want %q", heard, texts)
	}
}

func TestACommitIsAnnouncedAndNothingElseIs(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	listener := listen(t, pool)
	tx := begin(t, pool)
	first, second := create(t, tx), create(t, tx)
	execute(t, tx, "SAVEPOINT s")
	create(t, tx)
	execute(t, tx, "ROLLBACK TO SAVEPOINT s")
	wantHeard(t, pool, listener)
	aborted(t, pool)
	wantHeard(t, pool, listener)
	commit(t, tx)
	wantHeard(t, pool, listener, first, second)
}

func TestOfCommitsAtOnceOnlyOneAnnouncesAndTheOthersDoNotWait(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	listener, holder := listen(t, pool), connect(t, pool)
	execute(t, holder, "SELECT pg_advisory_lock("+announcing+")")
	tx := begin(t, pool)
	execute(t, tx, "SET LOCAL lock_timeout = 1")
	token := create(t, tx)
	commit(t, tx)
	want(t, pool, pgbarrier.Committed, token)
	wantHeard(t, pool, listener)

	execute(t, holder, "SELECT pg_advisory_unlock("+announcing+")")
	wantHeard(t, pool, listener, committed(t, pool))
}

// The lock is only taken in COMMIT: a long transaction with a barrier keeps nobody from announcing.
func TestAnOpenTransactionDoesNotHoldTheAnnouncementUp(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	listener := listen(t, pool)
	create(t, begin(t, pool))
	wantHeard(t, pool, listener, committed(t, pool))
	if n := query[int](t, pool, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"); n != 0 {
		t.Errorf("%d advisory locks are held", n)
	}
}

func TestAnnouncingCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	listener := listen(t, pool)
	role := newRole(t, pool)
	grant(t, pool, "producer", role)
	execute(t, pool, "ALTER ROLE "+role+" SET pgbarrier.announce = off")

	for name, producer := range map[string]func() pgbarrier.Token{
		"by SET LOCAL": func() pgbarrier.Token {
			tx := begin(t, pool)
			execute(t, tx, "SET LOCAL pgbarrier.announce = off")
			token := create(t, tx)
			commit(t, tx)
			return token
		},
		"by SET LOCAL after the barrier": func() pgbarrier.Token {
			tx := begin(t, pool)
			token := create(t, tx)
			execute(t, tx, "SET LOCAL pgbarrier.announce = off")
			commit(t, tx)
			return token
		},
		"by ALTER ROLE": func() pgbarrier.Token { return committed(t, as(t, pool, role)) },
		"for one barrier": func() pgbarrier.Token {
			tx := begin(t, pool)
			token := createUnannounced(t, tx)
			commit(t, tx)
			return token
		},
		"for the whole transaction by a later barrier": func() pgbarrier.Token {
			tx := begin(t, pool)
			token := create(t, tx)
			createUnannounced(t, tx)
			commit(t, tx)
			return token
		},
		"for the whole transaction in a savepoint": func() pgbarrier.Token {
			tx := begin(t, pool)
			token := create(t, tx)
			execute(t, tx, "SAVEPOINT s")
			createUnannounced(t, tx)
			execute(t, tx, "RELEASE SAVEPOINT s")
			commit(t, tx)
			return token
		},
	} {
		token := producer()
		if heard := hear(t, pool, listener); len(heard) > 0 {
			t.Errorf("%s: heard %q", name, heard)
		}
		want(t, pool, pgbarrier.Committed, token)
	}
	// It was for those transactions only.
	for range 3 {
		wantHeard(t, pool, listener, committed(t, pool))
	}
}

// Who listens hears tokens, and whoever has one can say it: hearing must not be proof. This is what a
// forged announcement finds.
func TestAForgedAnnouncementChangesNoStatus(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	token := create(t, tx)
	execute(t, pool, "SELECT pg_notify('pgbarrier', $1)", token.String())
	want(t, pool, pgbarrier.Pending, token)
	rollback(t, tx)
	want(t, pool, pgbarrier.Aborted, token)
}

func TestIdsAreVersion7OfTheServersClock(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	seen := map[string]bool{}
	for range 50 {
		before := query[int64](t, tx, "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
		token := create(t, tx)
		after := query[int64](t, tx, "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
		if ms := token.Created().UnixMilli(); ms < before || ms > after {
			t.Errorf("%v was created at %d, between %d and %d", token, ms, before, after)
		}
		if err := token.Valid(); err != nil || seen[token.ID.String()] {
			t.Errorf("%v: %v, seen before: %v", token, err, seen[token.ID.String()])
		}
		seen[token.ID.String()] = true
	}
	first := query[string](t, pool, "SELECT pgbarrier.first_id(to_timestamp($1::text::bigint / 1000.0))::text", strconv.Itoa(0x01976a2b3c4d))
	if !strings.HasPrefix(first, "01976a2b-3c4d-7000-8000-") {
		t.Errorf("first_id is %s", first)
	}
}
