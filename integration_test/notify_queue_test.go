package integration_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// A producer must not be stopped by a queue that somebody else's listener keeps from being emptied.
// The function is replaced because filling half of 8 GB takes long; below the queue is real.
func TestAFillingNotificationQueueIsLeftAlone(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	listener := listen(t, pool)
	usage := func(u string) {
		execute(t, pool, "CREATE OR REPLACE FUNCTION pg_catalog.pg_notification_queue_usage() RETURNS double precision LANGUAGE sql VOLATILE AS 'SELECT "+u+"::double precision'")
		pool.Reset() // plans do not watch built-in functions
	}
	usage("0.5")
	token := committed(t, pool)
	wantHeard(t, pool, listener)
	want(t, pool, pgbarrier.Committed, token)
	usage("0.49")
	wantHeard(t, pool, listener, committed(t, pool))
}

// smallQueue is a database of a server with the smallest notification queue there can be, and a session
// of a stranger's that keeps it from being emptied. Before PostgreSQL 17 every queue has 8 GB.
func smallQueue(t testing.TB) (pool *pgxpool.Pool, stuck *pgx.Conn) {
	t.Helper()
	pool = open(t, devpg.ForTest(t, devpg.Config{Settings: map[string]string{"fsync": "off", "max_notify_queue_pages": "64"}}).URL())
	migrate(t, pool)
	stuck = listen(t, as(t, pool, newRole(t, pool)))
	execute(t, stuck, "BEGIN; SELECT 1") // idle in transaction
	return pool, stuck
}

// stuffQueue has a stranger fill the queue by some part, or by as much as there is room for.
func stuffQueue(t testing.TB, pool *pgxpool.Pool, usage float64) {
	t.Helper()
	for i := 0; query[float64](t, pool, "SELECT pg_notification_queue_usage()") < usage; i++ {
		if _, err := pool.Exec(t.Context(), "SELECT pg_notify('filler', repeat('x', 7900))"); err != nil {
			t.Logf("full after %d pages: %v", i, err)
			return
		}
		if i > 100 {
			t.Fatal("the queue does not fill")
		}
	}
}

func TestAFullNotificationQueueFailsNoCommit(t *testing.T) {
	t.Parallel()
	if server.Major() < 17 {
		t.Logf("PostgreSQL %d has a queue of 8 GB: this is only tried on 17 and later", server.Major())
		return
	}
	pool, stuck := smallQueue(t)
	l := run(t, pool, listener.Config{})
	for _, usage := range []float64{0.45, 0.5, 0.6, 0.9, 2} {
		stuffQueue(t, pool, usage)
		for _, setting := range append(impatience(), "work_mem = '4MB'") {
			tx := begin(t, pool)
			execute(t, tx, "SET LOCAL "+setting)
			token := create(t, tx)
			commit(t, tx)
			want(t, pool, pgbarrier.Committed, token)
			wait(t, l, nil, token)
		}
	}
	execute(t, stuck, "ROLLBACK")
	eventually(t, "the queue is emptied", func() bool {
		return query[float64](t, pool, "SELECT pg_notification_queue_usage()") < 0.5 // to ask is what empties it
	})
	eventually(t, "commits are announced again", func() bool {
		heard := listen(t, pool)
		token := committed(t, pool)
		return slices.Contains(hear(t, pool, heard), token.String())
	})
}

// What PostgreSQL refuses after the trigger has looked cannot be taken back. Half of the queue has to be
// filled between two moments of one COMMIT, by transactions that nobody waits for when it looks: here the
// COMMIT is made to take as long as it needs. It fails, and the barrier with it.
func TestACommitThatFailsForAQueueFilledMeanwhileAbortsItsBarrier(t *testing.T) {
	t.Parallel()
	if server.Major() < 17 {
		t.Logf("PostgreSQL %d has a queue of 8 GB: this is only tried on 17 and later", server.Major())
		return
	}
	pool, _ := smallQueue(t)
	for _, usage := range []float64{0.4, 2} { // the half that is looked at is enough for a while
		w := openWindow(t, pool)
		stuffQueue(t, pool, usage)
		w.goOn(t)
		if err := <-w.ended; err == nil {
			want(t, pool, pgbarrier.Committed, w.token)
		} else if usage < 1 {
			t.Errorf("with %v of the queue: COMMIT: %v", usage, err)
		} else {
			t.Log(err)
			wantErr(t, "Poll", pgbarrier.Poll(t.Context(), pool, w.token), pgbarrier.ErrAborted)
		}
	}
}

// Nor does a transaction fail that makes more barriers than a small queue holds.
func TestATransactionOfManyBarriersAnnouncesTheFirstHundred(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"fsync": "off"}
	if server.Major() >= 17 {
		settings["max_notify_queue_pages"] = "64"
	}
	pool := open(t, devpg.ForTest(t, devpg.Config{Settings: settings}).URL())
	migrate(t, pool)
	listener, stuck := listen(t, pool), listen(t, pool)
	execute(t, stuck, "BEGIN; SELECT 1")
	for range 2 { // in one session: the count is of a transaction
		tx := begin(t, pool)
		first := create(t, tx)
		execute(t, tx, "INSERT INTO pgbarrier.barrier SELECT FROM generate_series(1, 10000)")
		last := create(t, tx)
		commit(t, tx)
		heard := hear(t, pool, listener)
		if len(heard) != 100 || heard[0] != first.String() {
			t.Errorf("heard %d tokens, the first is %q, want 100 from %v on", len(heard), heard[:min(1, len(heard))], first)
		}
		want(t, pool, pgbarrier.Committed, first, last)
	}
}
