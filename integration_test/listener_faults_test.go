package integration_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// listenPIDs are the backends of pool's database that listen.
const listenPIDs = `SELECT pid FROM pg_stat_activity
	WHERE datname = current_database() AND application_name = 'pgbarrier' AND query ILIKE '%listen%'`

func TestALostListenConnectionDelaysNoOutcomeForLong(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	lost := make(chan error, 100)
	l := run(t, pool, listener.Config{Trace: listener.Trace{Disconnected: func(err error) { lost <- err }}})
	for range 5 {
		tx := begin(t, pool)
		sub := pending(t, l, create(t, tx))
		eventually(t, "the listener listens", func() bool { return l.Stats().Connected })
		if n := query[int](t, pool, "SELECT count(pg_terminate_backend(pid)) FROM ("+listenPIDs+") s"); n != 1 {
			t.Fatalf("%d listening backends", n)
		}
		<-lost
		if stats := l.Stats(); stats.LastErr == nil && !stats.Connected {
			t.Error("Stats does not tell of the loss")
		}
		commit(t, tx)
		wantEnd(t, sub, nil)
		wait(t, l, pgbarrier.ErrAborted, aborted(t, pool))
	}
	eventually(t, "the listener is connected again", func() bool { return l.Stats().Connected })
}

// The session that listens is killed as soon as it is there, over and over, and the one that checks
// with every wait.
func TestWaitsEndRightWhileTheListenersSessionsAreKilledInATightLoop(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	killer := connect(t, pool)
	stop := make(chan struct{})
	var killing sync.WaitGroup
	var killed atomic.Int64
	killing.Go(func() {
		for !stopped(stop) {
			killed.Add(query[int64](t, killer, "SELECT count(pg_terminate_backend(pid)) FROM ("+listenPIDs+") s"))
		}
	})
	for range 60 {
		commits, aborts := begin(t, pool), begin(t, pool)
		good, bad := l.Subscribe(create(t, commits)), l.Subscribe(create(t, aborts))
		execute(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'pgbarrier'`)
		commit(t, commits)
		rollback(t, aborts)
		wantEnd(t, good, nil)
		wantEnd(t, bad, pgbarrier.ErrAborted)
	}
	// Not many more: the pause before a new session doubles with each.
	eventually(t, "enough sessions were killed", func() bool { return killed.Load() >= 5 })
	close(stop)
	killing.Wait()
	eventually(t, "the listener is connected again", func() bool { return l.Stats().Connected })
	wait(t, l, nil, committed(t, pool))
}

func TestAWaitOutlastsTheServer(t *testing.T) {
	t.Parallel()
	own := devpg.ForTest(t)
	pool := open(t, own.URL())
	migrate(t, pool)
	l := run(t, pool, listener.Config{})
	before := committed(t, pool)
	tx := begin(t, pool)
	interrupted := create(t, tx)
	sub := pending(t, l, interrupted)

	if err := own.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the listener has noticed", func() bool { return !l.Stats().Connected })
	later := l.Subscribe(before)
	defer later.Close()
	eventually(t, "checks have failed", func() bool { return l.Stats().FailedChecks > 3 })
	select {
	case <-sub.Done():
		// The producer's session can see the postmaster die, and abort, while the listener's still answers.
		wantErr(t, "the wait ended while the server went down", sub.Err(), pgbarrier.ErrAborted)
	case <-later.Done():
		t.Fatalf("the wait ended with %v while the server is down", later.Err())
	default:
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx, before); err != context.DeadlineExceeded {
		t.Errorf("a wait whose context ends while the server is down: %v", err)
	}

	if err := own.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, sub, pgbarrier.ErrAborted)
	wantEnd(t, later, nil)
	eventually(t, "the listener is connected again", func() bool { return l.Stats().Connected })
	wait(t, l, nil, committed(t, pool))
}

func TestWaitsEndWhenNothingIsHeard(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})

	t.Run("the announcement's lock is held by somebody", func(t *testing.T) {
		holder := begin(t, pool)
		key := query[int64](t, pool, `SELECT (regexp_match(prosrc, 'pg_try_advisory_xact_lock\((\d+)\)'))[1]::bigint
			FROM pg_proc WHERE oid = 'pgbarrier.announce'::regproc`)
		execute(t, holder, "SELECT pg_advisory_xact_lock($1)", key)
		before := l.Stats().Announcements
		for range 20 {
			tx := begin(t, pool)
			sub := l.Subscribe(create(t, tx))
			commit(t, tx)
			wantEnd(t, sub, nil)
		}
		if heard := l.Stats().Announcements - before; heard != 0 {
			t.Errorf("heard %d announcements", heard)
		}
		rollback(t, holder)
	})
	t.Run("announcing is off", func(t *testing.T) {
		tx := begin(t, pool)
		execute(t, tx, "SET LOCAL pgbarrier.announce = off")
		sub := pending(t, l, create(t, tx))
		commit(t, tx)
		wantEnd(t, sub, nil)
	})
	t.Run("poll only", func(t *testing.T) {
		polling := run(t, pool, listener.Config{PollOnly: true})
		wait(t, polling, nil, committed(t, pool))
		wait(t, polling, pgbarrier.ErrAborted, aborted(t, pool))
		tx := begin(t, pool)
		sub := pending(t, polling, create(t, tx))
		commit(t, tx)
		wantEnd(t, sub, nil)
	})
}

func TestForgedDuplicatedAndMalformedNotificationsEndNoWaitWrongly(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	tx := begin(t, pool)
	token := create(t, tx)
	sub := pending(t, l, token)
	other := committed(t, pool)
	otherXID, otherOrigin := token, token
	otherXID.XID++
	otherOrigin.Origin++
	for range 50 {
		for _, payload := range []string{"", "nonsense", token.ID.String(), token.String()[:50], token.String() + "0",
			other.String(), otherXID.String(), otherOrigin.String()} {
			execute(t, pool, "SELECT pg_notify('pgbarrier', $1)", payload)
		}
	}
	eventually(t, "all is heard", func() bool { return l.Stats().Malformed == 250 && l.Stats().Announcements >= 151 })
	if err := sub.Err(); err != listener.ErrPending {
		t.Fatalf("the wait ended with %v", err)
	}
	rollback(t, tx)
	wantEnd(t, sub, pgbarrier.ErrAborted)
}

func TestALongTransactionElsewhereDelaysNothing(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	long := begin(t, pool)
	unrelated := pending(t, l, create(t, long))
	for range 20 {
		wait(t, l, nil, committed(t, pool))
		wait(t, l, pgbarrier.ErrAborted, aborted(t, pool))
	}
	commit(t, long)
	wantEnd(t, unrelated, nil)
}

func TestWaitsEndThoughEveryPoolConnectionIsHeldByThoseWhoWait(t *testing.T) {
	t.Parallel()
	producers := migratedDatabase(t)
	workers := open(t, producers.Config().ConnString(), func(c *pgxpool.Config) { c.MaxConns = 4 })
	l := run(t, workers, listener.Config{})
	var running sync.WaitGroup
	for range 4 {
		held := begin(t, workers)
		tx := begin(t, producers)
		execute(t, tx, "SET LOCAL pgbarrier.announce = off") // nothing but a check can end it
		token := create(t, tx)
		running.Go(func() {
			wait(t, l, nil, token)
			if err := held.Rollback(context.Background()); err != nil {
				t.Error(err)
			}
		})
		commit(t, tx)
	}
	running.Wait()
}
