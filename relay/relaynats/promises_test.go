package relaynats

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// The rows of the table of promises, through a relay, a real NATS server and a real PostgreSQL.

func TestPromisesHoldThroughARelay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.relay(r.pool)
	c := r.client(ClientConfig{})
	for name, f := range map[string]func(r *rig, c *Client){
		"COMMIT":                    promiseCommit,
		"ROLLBACK":                  promiseRollback,
		"savepoint":                 promiseSavepoint,
		"producer killed":           promiseKilledProducer,
		"prepared transaction":      promisePrepared,
		"several tokens":            promiseSeveral,
		"context ends":              promiseContext,
		"the same token many times": promiseMany,
		"malformed":                 promiseMalformed,
		"never made":                promiseNeverMade,
		"foreign":                   promiseForeign,
		"purged":                    promisePurged,
	} {
		t.Run(name, func(t *testing.T) {
			f(&rig{TB: t, broker: r.broker, pool: r.pool}, c)
		})
	}
	if stats := c.Stats(); stats.Lost > 0 {
		t.Logf("sessions were lost, without a fault: %+v", stats)
	}
}

func promiseCommit(r *rig, c *Client) {
	r.exec(r.pool, "CREATE TABLE rows (n int)")
	token, do := r.create(r.pool)
	do("INSERT INTO rows VALUES (1)")
	done := r.pending(c, token)
	do("COMMIT")
	r.ends("early", done, nil)
	var n int
	if err := r.pool.QueryRow(r.Context(), "SELECT n FROM rows").Scan(&n); err != nil {
		r.Error(err)
	}
	r.ends("late", begin(c, token), nil)
}

func promiseRollback(r *rig, c *Client) {
	token, do := r.create(r.pool)
	done := r.pending(c, token)
	do("ROLLBACK")
	r.ends("early", done, pgbarrier.ErrAborted)
	r.ends("late", begin(c, token), pgbarrier.ErrAborted)
}

func promiseSavepoint(r *rig, c *Client) {
	tx, err := r.pool.Begin(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	nested, err := tx.Begin(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	var text string
	if err := nested.QueryRow(r.Context(), "SELECT pgbarrier.create()").Scan(&text); err != nil {
		r.Fatal(err)
	}
	token, err := pgbarrier.ParseToken(text)
	if err != nil {
		r.Fatal(err)
	}
	if err := nested.Rollback(r.Context()); err != nil {
		r.Fatal(err)
	}
	done := begin(c, token)
	if err := tx.Commit(r.Context()); err != nil {
		r.Fatal(err)
	}
	r.ends("lost at the savepoint", done, pgbarrier.ErrAborted)
}

func promiseKilledProducer(r *rig, c *Client) {
	tx, err := r.pool.Begin(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	var text string
	if err := tx.QueryRow(r.Context(), "SELECT pgbarrier.create()").Scan(&text); err != nil {
		r.Fatal(err)
	}
	token, err := pgbarrier.ParseToken(text)
	if err != nil {
		r.Fatal(err)
	}
	done := r.pending(c, token)
	_ = tx.Conn().PgConn().Conn().Close()
	r.ends("its connection is gone", done, pgbarrier.ErrAborted)
	_ = tx.Rollback(context.Background())
}

func promisePrepared(r *rig, c *Client) {
	kept, do := r.create(r.pool)
	do("PREPARE TRANSACTION 'kept'")
	dropped, doOther := r.create(r.pool)
	doOther("PREPARE TRANSACTION 'dropped'")
	done, other := r.pending(c, kept), r.pending(c, dropped)
	r.exec(r.pool, "COMMIT PREPARED 'kept'")
	r.exec(r.pool, "ROLLBACK PREPARED 'dropped'")
	r.ends("kept", done, nil)
	r.ends("dropped", other, pgbarrier.ErrAborted)
}

func promiseSeveral(r *rig, c *Client) {
	one, commitOne := r.create(r.pool)
	two, commitTwo := r.create(r.pool)
	three, end := r.create(r.pool)
	all, bad := r.pending(c, one, two), r.pending(c, two, three)
	commitOne("COMMIT")
	r.ends("the first by itself", begin(c, one), nil)
	if len(all) > 0 {
		r.Error("it ended when one of two was committed")
	}
	commitTwo("COMMIT")
	r.ends("both", all, nil)
	end("ROLLBACK")
	r.ends("one aborted", bad, pgbarrier.ErrAborted)
}

func promiseContext(r *rig, c *Client) {
	token, do := r.create(r.pool)
	ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Wait(ctx, token); err != context.DeadlineExceeded {
		r.Errorf("ended with %v", err)
	}
	do("COMMIT")
	r.ends("afterwards", begin(c, token), nil)
}

func promiseMany(r *rig, c *Client) {
	token, do := r.create(r.pool)
	var all []<-chan error
	for range 20 {
		all = append(all, begin(c, token), begin(r.client(ClientConfig{}), token))
	}
	do("COMMIT")
	for _, done := range all {
		r.ends("one of many", done, nil)
	}
}

func promiseMalformed(r *rig, c *Client) {
	r.ends("the zero token", begin(c, pgbarrier.Token{}), pgbarrier.ErrInvalidToken)
	r.ends("none", begin(c), pgbarrier.ErrInvalidToken)
}

func promiseNeverMade(r *rig, c *Client) {
	token := r.committed(r.pool)
	token.XID += 1 << 20
	token.XID -= 1<<20 + 1
	if err := c.Wait(r.Context(), token); err == nil {
		r.Error("a token with another transaction's id is committed")
	}
}

func promiseForeign(r *rig, c *Client) {
	before := r.committed(r.pool)
	foreign := before
	foreign.Origin ^= 1
	ctx, cancel := context.WithTimeout(r.Context(), 300*time.Millisecond)
	defer cancel()
	if err := c.Wait(ctx, foreign); err != context.DeadlineExceeded {
		r.Errorf("a token that no relay serves ended with %v", err)
	}
}

func promisePurged(r *rig, c *Client) {
	// Unannounced: the listener remembers what it has heard for a second.
	var text string
	if err := r.pool.QueryRow(r.Context(), "SELECT pgbarrier.create(false)").Scan(&text); err != nil {
		r.Fatal(err)
	}
	token, err := pgbarrier.ParseToken(text)
	if err != nil {
		r.Fatal(err)
	}
	r.exec(r.pool, "SELECT pgbarrier.purge('1 ms')")
	r.until("it is purged", func() bool {
		statuses, err := pgbarrier.Check(r.Context(), r.pool, token)
		if err != nil {
			r.Fatal(err)
		}
		if statuses[0] == pgbarrier.Expired {
			return true
		}
		r.exec(r.pool, "SELECT pgbarrier.purge('1 ms')")
		return false
	})
	r.ends("purged", begin(c, token), pgbarrier.ErrExpired)
}

// A clone has another origin: what its listener is asked about another's tokens it knows.
func TestATokenOfBeforeTheOriginWasRenewedIsOfTheWrongDatabase(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.relay(r.pool)
	c := r.client(ClientConfig{})
	token, _ := r.create(r.pool)
	done := r.pending(c, token)
	origin, err := pgbarrier.RenewOrigin(t.Context(), r.pool)
	if err != nil {
		t.Fatal(err)
	}
	r.ends("waited for meanwhile", done, pgbarrier.ErrWrongDatabase)
	r.until("the relay serves the new origin", func() bool {
		origins, _ := p.relay.Origins()
		return len(origins) == 1 && origins[0] == origin
	})
	r.ends("a new one", begin(c, r.committed(r.pool)), nil)
}

// The server crashes after an asynchronous commit was seen, and loses it.
func TestWhatACrashLostIsAbortedThroughARelay(t *testing.T) {
	t.Parallel()
	s := devpg.ForTest(t, devpg.Config{Settings: map[string]string{
		"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB", "wal_buffers": "16MB", "autovacuum": "off",
		"wal_level": "minimal", "max_wal_senders": "0",
	}})
	pool := openPool(t, s.URL())
	if err := pgbarrier.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, broker: startBroker(t), pool: pool}
	r.relay(pool)
	c := r.client(ClientConfig{})
	lost := false
	for attempt := 0; attempt < 5 && !lost; attempt++ {
		kept := r.committed(pool)
		running, _ := r.create(pool)
		inFlight := r.pending(c, running)
		token, do := r.create(pool)
		do("SET LOCAL synchronous_commit = off")
		done := r.pending(c, token)
		together := r.pending(c, running, token)
		do("COMMIT")
		r.ends("seen", done, nil)
		if err := s.Crash(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := begin(c, token, kept) // asked while it is down
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		pool.Reset()
		statuses, err := pgbarrier.Check(t.Context(), pool, token)
		if err != nil {
			t.Fatal(err)
		}
		lost = statuses[0] == pgbarrier.Aborted
		want := statuses[0].Err(token)
		if want != nil {
			want = pgbarrier.ErrAborted
		}
		r.ends("asked during the outage", after, want)
		r.ends("asked afterwards", begin(c, token), want)
		r.ends("running in the crash", inFlight, pgbarrier.ErrAborted)
		r.ends("with one that was running", together, pgbarrier.ErrAborted)
		r.ends("durable", begin(c, kept), nil)
	}
	if !lost {
		t.Log("the crash lost nothing in five attempts")
	}
}

func TestAFailoverThroughARelay(t *testing.T) {
	t.Parallel()
	primary := devpg.ForTest(t)
	old := openPool(t, primary.URL())
	if err := pgbarrier.Migrate(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, broker: startBroker(t), pool: old}
	service := openPool(t, whicheverIsPrimary(t, standby.URL(), primary.URL()))
	r.relay(service)
	c := r.client(ClientConfig{})
	kept, running := r.committed(old), pgbarrier.Token{}
	running, _ = r.create(old)
	prepared, do := r.create(old)
	do("PREPARE TRANSACTION 'p'")
	open, twoPhase := r.pending(c, running), r.pending(c, prepared)
	onStandby := openPool(t, standby.URL())
	var lsn string
	if err := old.QueryRow(t.Context(), "SELECT pg_current_wal_flush_lsn()::text").Scan(&lsn); err != nil {
		t.Fatal(err)
	}
	r.until("the standby has it all", func() bool {
		var has bool
		if err := onStandby.QueryRow(t.Context(), "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)", lsn).Scan(&has); err != nil {
			t.Fatal(err)
		}
		return has
	})
	r.exec(onStandby, "ALTER SYSTEM SET primary_conninfo = ''")
	r.exec(onStandby, "SELECT pg_reload_conf()")
	r.until("it receives no more", func() bool {
		var n int
		if err := onStandby.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_wal_receiver").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
	unreplicated := r.committed(old)
	r.ends("true on the old primary", begin(c, unreplicated), nil)
	if err := primary.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	service.Reset()
	r.exec(onStandby, "COMMIT PREPARED 'p'")
	r.ends("running", open, pgbarrier.ErrAborted)
	r.ends("prepared", twoPhase, nil)
	r.ends("unreplicated", begin(c, unreplicated), pgbarrier.ErrAborted)
	r.ends("replicated", begin(c, kept), nil)
}

// whicheverIsPrimary connects to the one of two servers that takes writes.
func whicheverIsPrimary(t *testing.T, urls ...string) string {
	t.Helper()
	var hosts string
	var last *url.URL
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if hosts != "" {
			hosts += ","
		}
		hosts += u.Host
		last = u
	}
	q := last.Query()
	q.Set("target_session_attrs", "read-write")
	return "postgres://" + last.User.String() + "@" + hosts + last.Path + "?" + q.Encode()
}
