package integration_test

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// listenPIDs are the backends of pool's database that listen.
const listenPIDs = `SELECT pid FROM pg_stat_activity
	WHERE datname = current_database() AND application_name = 'pgbarrier' AND query LIKE '%LISTEN%'`

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

// A blackhole is a TCP proxy that can stop forwarding without closing anything, as a network does
// when a host or a NAT entry is gone.
type blackhole struct {
	net.Listener
	target string
	mu     sync.Mutex
	dark   map[net.Conn]bool // swallowed
	conns  []net.Conn
}

func newBlackhole(t testing.TB, target string) *blackhole {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &blackhole{Listener: ln, target: target, dark: make(map[net.Conn]bool)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			b.mu.Lock()
			b.conns = append(b.conns, client, server)
			b.mu.Unlock()
			serving.Go(func() { b.forward(client, server) })
			serving.Go(func() { b.forward(server, client) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		b.mu.Lock()
		for _, c := range b.conns {
			_ = c.Close()
		}
		b.mu.Unlock()
		serving.Wait()
	})
	return b
}

func (b *blackhole) forward(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		b.mu.Lock()
		dark := b.dark[from]
		b.mu.Unlock()
		if n > 0 && !dark {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if !dark {
				_ = to.Close()
			}
			return
		}
	}
}

// swallow makes the connections that exist half-open; new ones work.
func (b *blackhole) swallow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		b.dark[c] = true
	}
}

func TestAHalfOpenConnectionIsNoticedAndReplaced(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	direct, err := url.Parse(pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	hole := newBlackhole(t, direct.Host)
	through := *direct
	through.Host = hole.Addr().String()
	lost := make(chan error, 10)
	l := run(t, pool, listener.Config{
		ListenConnString: through.String(),
		Heartbeat:        500 * time.Millisecond, // instead of 10 s
		Trace:            listener.Trace{Disconnected: func(err error) { lost <- err }},
	})
	tx := begin(t, pool)
	sub := pending(t, l, create(t, tx))
	hole.swallow()
	commit(t, tx) // announced into the void
	wantEnd(t, sub, nil)
	select {
	case <-lost:
	case <-time.After(30 * time.Second):
		t.Fatal("the half-open connection was not noticed")
	}
	eventually(t, "the listener is connected again", func() bool { return l.Stats().Connected })
}
