package listener

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/dial"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

const (
	// queryTimeout is how long a statement may take at most, and firstTimeout if none has taken long of late.
	// Then its connection is taken for dead.
	queryTimeout = 15 * time.Second
	firstTimeout = 2 * time.Second
)

// A checkConn is the connection for checks. It is opened when it is first needed and again after it
// broke. One statement runs at a time; the others wait.
type checkConn struct {
	dialer  dial.Dialer
	lost    func()        // called when the connection is gone, before the next: the server may have crashed
	turn    chan struct{} // capacity 1; whoever has put something in may use the rest
	conn    *pgx.Conn
	wrapped bool // checks need a transaction of their own, see open
	holding bool // a transaction is open, see hold
	timeout time.Duration
}

func newCheckConn(d dial.Dialer, lost func()) *checkConn {
	return &checkConn{dialer: d, lost: lost, turn: make(chan struct{}, 1), timeout: firstTimeout}
}

// do runs f on the connection. If the connection turns out to have been closed while it was idle, f
// runs once more on a new one; f must be idempotent.
func (c *checkConn) do(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	// Not a mutex: nobody waits for a statement on a dead connection longer than its own context.
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	for {
		reused := c.conn != nil
		if err := c.open(ctx); err != nil {
			return err
		}
		begun := time.Now()
		limited, cancel := context.WithTimeout(ctx, c.timeout)
		err := f(limited, c.conn)
		timedOut := limited.Err() != nil
		if err != nil && !c.conn.IsClosed() && c.conn.PgConn().TxStatus() != 'I' {
			c.end(limited, "ROLLBACK")
		}
		cancel()
		c.timeout = nextTimeout(c.timeout, time.Since(begun))

		standby := errors.Is(err, pgbarrier.ErrStandby) // another connection may find the primary
		if !standby && !c.conn.IsClosed() {
			return err
		}
		c.drop()
		if standby || timedOut || !reused {
			return err
		}
	}
}

// open connects, and sees whether the session's defaults would harm checks: in SERIALIZABLE they can make a producer's
// COMMIT fail, and a short statement_timeout can keep large ones from ever ending. They are not SET for the session:
// behind a pooler in transaction mode it is somebody else's next.
func (c *checkConn) open(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	conn, err := c.dialer.Dial(ctx)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	settings, err := conn.PgConn().Exec(limited, "SHOW default_transaction_isolation; SHOW statement_timeout").ReadAll()
	if err != nil {
		dial.Close(conn)
		return err
	}
	if c.wrapped = false; len(settings) == 2 {
		// In the largest unit that divides it. Minutes, hours and days, of which ParseDuration knows only one, are long enough.
		timeout, err := time.ParseDuration(string(settings[1].Rows[0][0]))
		short := err == nil && 0 < timeout && timeout < queryTimeout
		c.wrapped = short || string(settings[0].Rows[0][0]) != "read committed" // breakage: READ COMMITTED where it is not the default
	}
	c.conn = conn
	return nil
}

const begin = "BEGIN ISOLATION LEVEL READ COMMITTED;" + // breakage: READ COMMITTED wrapping
	"SET LOCAL statement_timeout = 0" // breakage: statement_timeout wrapping

// check asks about tokens in one statement, in a transaction of its own if need be.
func (c *checkConn) check(ctx context.Context, tokens []pgbarrier.Token) (answer wire.Answer, err error) {
	err = c.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		alone := c.wrapped && !c.holding
		if alone {
			if _, err := conn.Exec(ctx, begin); err != nil {
				return err
			}
		}
		if answer, err = wire.Check(ctx, conn, tokens); err == nil && alone {
			c.end(ctx, "COMMIT")
		}
		return err
	})
	return answer, err
}

// hold reports whether the announcing lock was free, and then holds it in SHARE mode until release, in a
// transaction that the server ends if we do not: nobody's announcements depend on this process or its network.
func (c *checkConn) hold(ctx context.Context) (held bool) {
	_ = c.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		sql := "SELECT coalesce(current_setting('transaction_timeout', true), '0') = '0' AND pg_catalog.pg_try_advisory_xact_lock_shared(7018962344107663491)"
		if !c.holding {
			sql = begin + "; SET LOCAL idle_in_transaction_session_timeout = '1s';" + sql
		}
		results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
		if err == nil {
			c.holding, held = true, string(results[len(results)-1].Rows[0][0]) == "t"
		}
		return err
	})
	return held
}

// release ends the transaction of hold.
func (c *checkConn) release(ctx context.Context) {
	_ = c.do(ctx, func(context.Context, *pgx.Conn) error {
		if c.holding {
			c.end(ctx, "COMMIT")
		}
		return nil
	})
}

// end ends the transaction, and the connection if that fails. The caller has the turn.
func (c *checkConn) end(ctx context.Context, statement string) {
	c.holding = false
	if _, err := c.conn.Exec(ctx, statement); err != nil || c.conn.PgConn().TxStatus() != 'I' {
		dial.Close(c.conn)
	}
}

// countSessions returns how many there are on the server.
func (c *checkConn) countSessions(ctx context.Context) (n int, err error) {
	err = c.query(ctx, &n, "SELECT count(*) FROM pg_catalog.pg_stat_get_backend_idset()")
	return n, err
}

// notifyHolder returns who holds the lock that NOTIFY takes for its COMMIT, one for the whole server, or
// "" (PreCommit_Notify, commands/async.c).
func (c *checkConn) notifyHolder(ctx context.Context) (holder string, err error) {
	err = c.query(ctx, &holder, `SELECT coalesce(max(format('pid %s, database %s, application %s', l.pid, a.datname, a.application_name)), '')
		FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::regclass AND l.objid = 0 AND l.database = 0 AND l.granted`)
	return holder, err
}

func (c *checkConn) query(ctx context.Context, answer any, sql string) error {
	return c.do(ctx, func(ctx context.Context, conn *pgx.Conn) error { return conn.QueryRow(ctx, sql).Scan(answer) })
}

// nextTimeout returns the timeout of the statement after one that took so long. A dead connection should not
// hold up checks for long; a server that is slow gets more time.
func nextTimeout(timeout, took time.Duration) time.Duration {
	switch {
	case took >= timeout/2:
		return min(2*timeout, queryTimeout)
	case took < timeout/8:
		return max(timeout/2, firstTimeout)
	}
	return timeout
}

// drop closes the connection. The caller has the turn.
func (c *checkConn) drop() {
	if c.conn != nil {
		dial.Close(c.conn)
		c.conn, c.holding = nil, false
		c.lost()
	}
}
