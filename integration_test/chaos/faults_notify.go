package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// What strangers do to all who announce. Whoever commits a NOTIFY holds one lock of the whole server from before its commit record until its
// transaction has ended (PreCommit_Notify, commands/async.c). No COMMIT of a producer fails for that.

// holdNotify commits a NOTIFY, and keeps it waiting for a standby that is not there, for longer than most of
// the producers' timeouts.
func holdNotify(c *chaos, ctx context.Context, r *rand.Rand) (held bool) {
	conn, err := pgx.ConnectConfig(ctx, c.admin.Config().ConnConfig)
	if err != nil {
		return false
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // its session may have been terminated
	// A commit that has written nothing waits for nobody.
	if _, err := conn.Exec(ctx, "BEGIN; SET LOCAL synchronous_commit = on; SELECT pg_logical_emit_message(true, 'chaos', ''); NOTIFY stranger"); err != nil {
		return false
	}
	pid := conn.PgConn().PID()
	committed := make(chan struct{})
	go func() {
		defer close(committed)
		_, _ = conn.Exec(c.ctx, "COMMIT") // an error: it was terminated
	}()
	for until := c.now() + 4*time.Second + aWhile(c, r); c.now() < until && sleep(ctx, 10*time.Millisecond); {
		held = held || c.count(ctx, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'", pid)
		c.noteDelayed(ctx)
	}
	for {
		_, _ = c.admin.Exec(c.ctx, "SELECT pg_cancel_backend($1)", pid) // again until it has ended
		select {
		case <-committed:
			return held
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// noteDelayed counts the COMMITs that wait for somebody's NOTIFY now. One may: the trigger cannot take the lock,
// it can only look whether it is held, and somebody may take it after that.
func (c *chaos) noteDelayed(ctx context.Context) {
	rows, err := c.admin.Query(ctx, `SELECT concat(pid, ' ', xact_start) FROM pg_stat_activity
		WHERE application_name = $1 AND query ILIKE 'commit%' AND wait_event_type = 'Lock' AND wait_event = 'object'`, producing)
	if err != nil {
		return
	}
	transactions, _ := pgx.CollectRows(rows, pgx.RowTo[string]) // none, if the server went away
	for _, t := range transactions {
		if _, known := c.waiting.LoadOrStore(t, true); !known {
			c.delayed.Add(1)
		}
	}
}

const elsewhere = "chaos_elsewhere" // a database of strangers

// asStranger is a session there, of a role without any grant.
func (c *chaos) asStranger(ctx context.Context) (*pgx.Conn, error) {
	config := c.admin.Config().ConnConfig // a copy
	config.Database = elsewhere
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "SET ROLE chaos_stranger"); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx)) // its session may have been terminated
		return nil, err
	}
	return conn, nil
}

// notifyMuch commits many notifications, each as large as it may be. That takes seconds.
func notifyMuch(c *chaos, ctx context.Context, r *rand.Rand) bool {
	conn, err := c.asStranger(ctx)
	if err != nil {
		return false
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // its session may have been terminated
	_, err = conn.Exec(ctx, "SELECT pg_notify('stranger', n || repeat('x', 7900)) FROM generate_series(1, $1::integer) n", 10_000+r.IntN(30_000))
	return err == nil
}

// fillLocks takes locks until the server has no room for more, and keeps it so: NOTIFY needs one of its own.
func fillLocks(c *chaos, ctx context.Context, r *rand.Rand) (full bool) {
	conn, err := c.asStranger(ctx)
	if err != nil {
		return false
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // its session may have been terminated
	for until := c.now() + aWhile(c, r); ; {
		// They are the session's: those before the error stay.
		_, err := conn.Exec(ctx, "SELECT count(pg_try_advisory_lock(n)) FROM generate_series(1, 1000000) n")
		full = full || wire.SQLState(err) == outOfMemory
		if c.now() >= until || !sleep(ctx, 10*time.Millisecond) {
			return full
		}
	}
}
