package integration_test

import (
	"testing"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
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

func TestAFullNotificationQueueFailsNoCommit(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"fsync": "off"}
	if server.Major() >= 17 {
		settings["max_notify_queue_pages"] = "64" // 512 kB, the least
	} else {
		t.Logf("PostgreSQL %d has a queue of 8 GB: this is only tried on 17 and later", server.Major())
		return
	}
	pool := open(t, devpg.ForTest(t, devpg.Config{Settings: settings}).URL())
	migrate(t, pool)
	stuck := listen(t, pool)
	execute(t, stuck, "BEGIN; SELECT 1") // idle in transaction: it keeps the queue from being emptied
	fill := func() error {
		_, err := pool.Exec(t.Context(), "SELECT pg_notify('filler', repeat('x', 7900))")
		return err
	}
	for i := 0; ; i++ {
		if err := fill(); err != nil {
			t.Logf("full after %d pages: %v", i, err)
			break
		}
		if i > 100 {
			t.Fatal("the queue does not fill")
		}
	}
	token := committed(t, pool)
	want(t, pool, pgbarrier.Committed, token)
	execute(t, stuck, "ROLLBACK")
	eventually(t, "the queue is emptied", func() bool {
		return query[float64](t, pool, "SELECT pg_notification_queue_usage()") == 0 || fill() == nil
	})
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
