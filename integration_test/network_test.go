package integration_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

func TestAHalfOpenConnectionIsNoticedAndReplaced(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	network, through := badNetwork(t, pool.Config().ConnString())
	lost := make(chan error, 10)
	l := run(t, pool, listener.Config{
		ListenConnString: through,
		Heartbeat:        500 * time.Millisecond, // instead of 10 s
		Trace:            listener.Trace{Disconnected: func(err error) { lost <- err }},
	})
	tx := begin(t, pool)
	sub := pending(t, l, create(t, tx))
	network.Swallow(0)
	commit(t, tx) // announced into the void
	wantEnd(t, sub, nil)
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("the dead connection was not noticed")
	}
	eventually(t, "the listener is connected again", func() bool { return l.Stats().Connected })
}

// With both of its connections half-open at once nothing tells the listener but its own clocks.
func TestWithBothConnectionsHalfOpenWaitsEndOnceTheCheckTimesOut(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	network, through := badNetwork(t, pool.Config().ConnString())
	const session, check = "session", "check"
	var swallowed atomic.Bool
	noticed := make(chan string, 100)
	l := run(t, open(t, through), listener.Config{
		Heartbeat: 400 * time.Millisecond,
		Trace: listener.Trace{
			Disconnected: func(error) {
				if swallowed.Load() {
					noticed <- session
				}
			},
			Checked: func(c listener.Checked) {
				if c.Err != nil {
					noticed <- check
				}
			},
		},
	})
	commits, aborts := begin(t, pool), begin(t, pool)
	good, bad := pending(t, l, create(t, commits)), pending(t, l, create(t, aborts))
	swallowed.Store(true)
	network.Swallow(0)
	commit(t, commits)
	rollback(t, aborts)
	if first := <-noticed; first != session {
		t.Error("the session's loss was not noticed before a check gave up")
	}
	// A check has 2 s at first; what is answered then is answered by a new connection.
	wantEnd(t, good, nil)
	wantEnd(t, bad, pgbarrier.ErrAborted)
	if l.Stats().FailedChecks == 0 {
		t.Error("no check failed: nothing was tested")
	}
	eventually(t, "the listener is connected again", func() bool { return l.Stats().Connected })
	wait(t, l, nil, committed(t, pool))
}

// 25 ms each way and 20 kB/s, which a check of 100 tokens fills for a third of a second.
func TestOnASlowNetworkEveryWaitEndsRight(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	network, through := badNetwork(t, pool.Config().ConnString())
	l := run(t, open(t, through, func(c *pgxpool.Config) { c.MaxConns = 2 }), listener.Config{})
	network.Slow(25*time.Millisecond, 20<<10)
	var waits sync.WaitGroup
	for i := range 100 {
		token, expected := committed, error(nil)
		switch i % 4 {
		case 1:
			token, expected = aborted, pgbarrier.ErrAborted
		case 2:
			token, expected = lostAtSavepoint, pgbarrier.ErrAborted
		case 3: // waited for before it ends
			tx := begin(t, pool)
			running := create(t, tx)
			waits.Go(func() { wait(t, l, nil, running) })
			commit(t, tx)
			continue
		}
		made := token(t, pool)
		waits.Go(func() { wait(t, l, expected, made) })
	}
	waits.Wait()
	if stats := l.Stats(); stats.FailedChecks > 0 || !stats.Connected {
		t.Errorf("a slow network was taken for a dead one: %+v", stats)
	}
}
