package integration_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// listenersOfEveryKind are one that listens and one that only checks.
func listenersOfEveryKind(t *testing.T, url string) []*listener.Listener {
	t.Helper()
	return []*listener.Listener{
		run(t, open(t, url), listener.Config{}),
		run(t, open(t, url), listener.Config{PollOnly: true}),
	}
}

// heardAgain waits until the listeners have survived a restart of the server.
func heardAgain(t *testing.T, listeners []*listener.Listener) {
	t.Helper()
	for _, l := range listeners {
		eventually(t, "the listener is connected again, or has none to connect", func() bool {
			stats := l.Stats()
			return stats.Connected && stats.Connections > 1 || stats.Connections == 0
		})
	}
}

// The waits of TestAfterACrashALostBarrierIsAbortedAlsoWhenItsXIDIsUsedAgain were in flight when the
// server crashed, and the first check that they get finds their xids committed by others.
func TestWaitsInFlightOverACrashAreAbortedThoughTheirXIDsCommitAfterwards(t *testing.T) {
	t.Parallel()
	s, pool := crashable(t)
	network, through := badNetwork(t, s.URL())
	listeners := listenersOfEveryKind(t, through)
	committed(t, pool) // flushes

	const producers = 5
	var lost []pgbarrier.Token
	var waits []*listener.Subscription
	for range producers {
		token := create(t, begin(t, pool))
		lost = append(lost, token)
		for _, l := range listeners {
			waits = append(waits, pending(t, l, token))
		}
	}
	network.Refuse(true)
	network.Cut() // before the crash: nobody sees the transactions abort with their sessions
	crash(t, s)
	restart(t, s, pool)
	if next := nextXID(t, pool); next > lost[0].XID {
		t.Fatalf("the crash kept xid %d, next is %d: nothing is tested", lost[0].XID, next)
	}
	var again []pgbarrier.Token
	for nextXID(t, pool) <= lost[producers-1].XID {
		again = append(again, committed(t, pool))
	}
	for _, token := range lost {
		if !slices.ContainsFunc(again, func(a pgbarrier.Token) bool { return a.XID == token.XID }) {
			t.Errorf("xid %d was not handed out again", token.XID)
		}
	}
	for _, sub := range waits {
		if err := sub.Err(); err != listener.ErrPending {
			t.Fatalf("a wait ended with %v while the server was out of reach", err)
		}
	}
	network.Refuse(false)
	for _, sub := range waits {
		wantEnd(t, sub, pgbarrier.ErrAborted)
	}
	for _, l := range listeners {
		wait(t, l, nil, again...)
		wait(t, l, pgbarrier.ErrAborted, append(again, lost...)...)
	}
}

// nil was true when it was given: the update could be read. The crash made it untrue, and a listener
// that remembers outcomes must not go on saying so.
func TestAnAsynchronousCommitThatWasSeenAndLostIsAbortedWhenWaitedForAgain(t *testing.T) {
	t.Parallel()
	s, pool := crashable(t)
	execute(t, pool, "CREATE TABLE orders (id integer)")
	listeners := listenersOfEveryKind(t, s.URL())
	heard, polled := begin(t, pool), begin(t, pool)
	var tokens []pgbarrier.Token
	var subs []*listener.Subscription
	for i, tx := range []pgx.Tx{heard, polled} {
		execute(t, tx, "SET LOCAL synchronous_commit = off")
		execute(t, tx, "INSERT INTO orders VALUES ($1)", i)
		tokens = append(tokens, create(t, tx))
		for _, l := range listeners {
			subs = append(subs, pending(t, l, tokens[i]))
		}
	}
	commit(t, heard)
	commit(t, polled)
	for _, sub := range subs {
		wantEnd(t, sub, nil)
	}
	if n := query[int](t, pool, "SELECT count(*) FROM orders"); n != 2 {
		t.Fatalf("nil was given, and %d of 2 orders can be read", n)
	}
	for _, l := range listeners {
		wait(t, l, nil, tokens...)
	}
	crash(t, s)
	restart(t, s, pool)
	heardAgain(t, listeners)
	if n := query[int](t, pool, "SELECT count(*) FROM orders"); n != 0 {
		t.Fatalf("the crash left %d of 2 orders: nothing is tested", n)
	}
	for _, l := range listeners {
		for _, token := range tokens {
			wait(t, l, pgbarrier.ErrAborted, token)
		}
	}

	// An application's own loop may hand over what it heard before the crash, to a listener whose idle connection
	// has not noticed any.
	fed := run(t, pool, listener.Config{PollOnly: true})
	for _, token := range tokens {
		if err := fed.HandleNotification(t.Context(), &pgconn.Notification{Channel: listener.Channel, Payload: token.String()}, nil); err != nil {
			t.Error(err)
		}
		wait(t, fed, pgbarrier.ErrAborted, token)
	}
}

// A wait for two, of which one had committed, and been found, when a crash undid it: the other's commit
// does not end it with nil.
func TestAWaitForSeveralForgetsACommitThatACrashTook(t *testing.T) {
	t.Parallel()
	s, pool := crashable(t)
	listeners := listenersOfEveryKind(t, s.URL())
	prepared := prepare(t, pool, "p") // flushes, so it comes first
	tx := begin(t, pool)
	execute(t, tx, "SET LOCAL synchronous_commit = off")
	taken := create(t, tx)
	var subs []*listener.Subscription
	for _, l := range listeners {
		subs = append(subs, pending(t, l, taken, prepared))
	}
	commit(t, tx)
	for _, l := range listeners {
		wait(t, l, nil, taken)
	}
	poll := make(chan error, 1)
	go func() {
		poll <- pgbarrier.Poller{MaxDelay: 20 * time.Millisecond}.Wait(t.Context(), pool, taken, prepared)
	}()
	eventually(t, "the poll has asked", func() bool {
		return query[bool](t, pool, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT version, origin%' AND state = 'idle' AND application_name <> 'pgbarrier')")
	})
	crash(t, s)
	restart(t, s, pool)
	// A listener's probe may run under the transaction id that the crash took, which is pending for as long.
	eventually(t, "the commit is known to be lost", func() bool { return query[string](t, pool, "SELECT pgbarrier.status($1)", taken) == "aborted" })
	want(t, pool, pgbarrier.Pending, prepared)
	execute(t, pool, "COMMIT PREPARED 'p'")
	for _, sub := range subs {
		wantEnd(t, sub, pgbarrier.ErrAborted)
	}
	if err := <-poll; !errors.Is(err, pgbarrier.ErrAborted) {
		t.Errorf("the poll ended with %v", err)
	}
}

// Prepared before the crash: neither commit nor abort until somebody ends it, also across the crash.
func TestAWaitForAPreparedTransactionGoesOnAcrossACrash(t *testing.T) {
	t.Parallel()
	s := devpg.ForTest(t)
	pool := open(t, s.URL())
	migrate(t, pool)
	listeners := listenersOfEveryKind(t, s.URL())
	token := prepare(t, pool, "p")
	var subs []*listener.Subscription
	for _, l := range listeners {
		subs = append(subs, pending(t, l, token))
	}
	crash(t, s)
	restart(t, s, pool)
	for i, l := range listeners {
		before := l.Stats()
		eventually(t, "checks succeed again", func() bool {
			now := l.Stats()
			return now.Checks-now.FailedChecks > before.Checks-before.FailedChecks+2
		})
		if err := subs[i].Err(); err != listener.ErrPending {
			t.Fatalf("the wait ended with %v, and the transaction is still prepared", err)
		}
	}
	execute(t, pool, "COMMIT PREPARED 'p'")
	for _, sub := range subs {
		wantEnd(t, sub, nil)
	}
}
