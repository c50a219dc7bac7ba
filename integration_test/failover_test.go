package integration_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// multiHost is a connection string for whichever of the servers is the primary.
func multiHost(t *testing.T, urls ...string) string {
	t.Helper()
	var hosts string
	var last *url.URL
	for i, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			hosts += ","
		}
		hosts += u.Host
		last = u
	}
	parameters := last.Query()
	parameters.Set("target_session_attrs", "read-write")
	return "postgres://" + last.User.String() + "@" + hosts + last.Path + "?" + parameters.Encode()
}

// replayed waits until the standby has all that the primary has flushed.
func replayed(t *testing.T, primary, standby *pgxpool.Pool) {
	t.Helper()
	lsn := query[string](t, primary, "SELECT pg_current_wal_flush_lsn()::text")
	eventually(t, "the standby has it all", func() bool {
		return query[bool](t, standby, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)", lsn)
	})
}

// The primary dies in the middle of waits, its standby takes over, and the last of its commits never
// got there. What counts is what the new primary has.
func TestAWaitOverAFailoverEndsAsTheNewPrimaryHasIt(t *testing.T) {
	t.Parallel()
	primary := devpg.ForTest(t)
	old := open(t, primary.URL())
	migrate(t, old)
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	onStandby := open(t, standby.URL())
	service := multiHost(t, standby.URL(), primary.URL()) // the standby first: it has to be passed over
	listeners := listenersOfEveryKind(t, service)

	kept, never := committed(t, old), aborted(t, old)
	prepared := prepare(t, old, "p")
	running := create(t, begin(t, old))
	replayed(t, old, onStandby)

	// From here on nothing reaches the standby.
	execute(t, onStandby, "ALTER SYSTEM SET primary_conninfo = ''")
	execute(t, onStandby, "SELECT pg_reload_conf()")
	eventually(t, "the standby receives no more", func() bool {
		return query[int](t, onStandby, "SELECT count(*) FROM pg_stat_wal_receiver") == 0
	})
	tx := begin(t, old)
	unreplicated := create(t, tx)
	commit(t, tx)
	type expectation struct {
		token pgbarrier.Token
		err   error
	}
	var inFlight []func()
	for _, l := range listeners {
		wait(t, l, nil, kept, unreplicated) // true on the old primary
		wait(t, l, pgbarrier.ErrAborted, never)
		for _, e := range []expectation{{running, pgbarrier.ErrAborted}, {prepared, nil}} {
			sub := pending(t, l, e.token)
			inFlight = append(inFlight, func() { wantEnd(t, sub, e.err) })
		}
	}

	crash(t, primary)
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool := open(t, service)
	execute(t, pool, "COMMIT PREPARED 'p'")
	for _, ends := range inFlight {
		ends()
	}
	heardAgain(t, listeners)
	want(t, pool, pgbarrier.Aborted, unreplicated)
	// Its xid is used again, by a commit of the new primary.
	reused := false
	for range 20 {
		again := committed(t, pool)
		reused = reused || again.XID == unreplicated.XID
		for _, l := range listeners {
			wait(t, l, nil, again)
		}
	}
	if !reused {
		t.Errorf("xid %d was not handed out again", unreplicated.XID)
	}
	for _, l := range listeners {
		wait(t, l, nil, kept, prepared)
		wait(t, l, pgbarrier.ErrAborted, unreplicated)
		wait(t, l, pgbarrier.ErrAborted, running)
		wait(t, l, pgbarrier.ErrAborted, never)
	}
}

// The primary's host is gone without a word, and its connections are half-open. A listener that heard of a
// commit there must not go on telling it when the standby, which never had it, has taken over.
func TestACommitThatAFailoverLostIsForgottenThoughAllConnectionsAreHalfOpen(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	network, through := badNetwork(t, r.primary.URL())
	service := multiHost(t, through, r.standby.URL())
	l := run(t, open(t, service), listener.Config{Heartbeat: time.Minute}) // what is noticed late
	r.disconnect(t)
	tx := begin(t, r.pool)
	token := create(t, tx)
	sub := pending(t, l, token)
	commit(t, tx)
	wantEnd(t, sub, nil)
	known := time.Now()
	network.Refuse(true)
	network.Swallow(0)
	crash(t, r.primary)
	r.promote(t)
	want(t, open(t, service), pgbarrier.Aborted, token)
	// A commit is remembered for a second.
	time.Sleep(time.Until(known.Add(1100 * time.Millisecond)))
	wait(t, l, pgbarrier.ErrAborted, token)
}
