package listener

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

const (
	// queryTimeout is how long a statement may take at most before its connection is taken for dead, and
	// firstTimeout how long if none has taken long of late.
	queryTimeout = 15 * time.Second
	firstTimeout = 2 * time.Second
)

// A queryConn is the connection for checks and pulses. It is opened when it is first needed and
// again after it broke. One statement runs at a time; the others wait.
type queryConn struct {
	dialer dialer
	// lost is called whenever the connection is gone, before anything is asked on the next: the server
	// may have crashed, see recent.forget.
	lost func()

	turn    chan struct{} // capacity 1; whoever has put something in may use the rest
	conn    *pgx.Conn
	wrapped bool // statements need a transaction of their own, see harmful
	timeout time.Duration
}

func newQueryConn(d dialer, lost func()) *queryConn {
	return &queryConn{dialer: d, lost: lost, turn: make(chan struct{}, 1), timeout: firstTimeout}
}

// do runs f on the connection. If the connection turns out to have been closed while it was idle, f
// runs once more on a new one; f must be idempotent.
func (q *queryConn) do(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	// Not a mutex: a pulse must not wait for a check on a dead connection longer than its own context.
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-q.turn }()
	for {
		reused := q.conn != nil
		if !reused {
			conn, err := q.dialer.dial(ctx)
			if err != nil {
				return err
			}
			q.conn = conn
		}
		begun := time.Now()
		limited, cancel := context.WithTimeout(ctx, q.timeout)
		err := q.run(limited, f, reused)
		timedOut := limited.Err() != nil
		cancel()
		q.timeout = nextTimeout(q.timeout, time.Since(begun))
		if errors.Is(err, pgbarrier.ErrStandby) {
			// Another connection may find the primary.
			q.drop()
			return err
		}
		if !q.conn.IsClosed() {
			return err
		}
		q.drop()
		if !reused || timedOut {
			return err
		}
	}
}

// run runs f, in a transaction of its own if need be.
func (q *queryConn) run(ctx context.Context, f func(context.Context, *pgx.Conn) error, reused bool) (err error) {
	if !reused {
		if q.wrapped, err = harmful(ctx, q.conn); err != nil {
			closeConn(q.conn) // the next time it would pass for one that has told
			return err
		}
	}
	if !q.wrapped {
		return f(ctx, q.conn)
	}
	defer func() {
		if q.conn.PgConn().TxStatus() != 'I' {
			closeConn(q.conn)
		}
	}()
	if _, err := q.conn.Exec(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0"); err != nil {
		return err
	}
	if err := f(ctx, q.conn); err != nil {
		_, _ = q.conn.Exec(ctx, "ROLLBACK") // the connection is closed if it fails
		return err
	}
	_, err = q.conn.Exec(ctx, "COMMIT")
	return err
}

// harmful tells whether the session's defaults would harm our statements. A check in SERIALIZABLE can make a
// producer's COMMIT fail, a watch with one snapshot sees nothing new in it, and a statement_timeout shorter
// than ours can keep a check of many tokens from ever ending. They are not SET for the session: behind a
// pooler in transaction mode it is somebody else's next.
func harmful(ctx context.Context, conn *pgx.Conn) (bool, error) {
	settings, err := conn.PgConn().Exec(ctx, "SHOW default_transaction_isolation; SHOW statement_timeout").ReadAll()
	if err != nil || len(settings) != 2 {
		return false, err
	}
	// In the largest unit that divides it. Minutes, hours and days, of which ParseDuration knows only one, are long enough.
	timeout, err := time.ParseDuration(string(settings[1].Rows[0][0]))
	short := err == nil && 0 < timeout && timeout < queryTimeout
	return short || string(settings[0].Rows[0][0]) != "read committed", nil
}

// nextTimeout returns the timeout of the statement after one that took so long. A connection that is dead
// should not hold up the checks for long; a server that is slow gets more time, up to queryTimeout.
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
func (q *queryConn) drop() {
	if q.conn != nil {
		closeConn(q.conn)
		q.conn = nil
		q.lost()
	}
}

func (q *queryConn) close() {
	q.turn <- struct{}{}
	defer func() { <-q.turn }()
	q.drop()
}

func (q *queryConn) judge(ctx context.Context, tokens []pgbarrier.Token) (j judgement, err error) {
	err = q.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		j, err = judge(ctx, conn, tokens)
		return err
	})
	return j, err
}

type judgement struct {
	Snapshot wire.Snapshot
	Statuses []pgbarrier.Status
}

func judge(ctx context.Context, conn *pgx.Conn, tokens []pgbarrier.Token) (judgement, error) {
	answer, err := wire.Check(ctx, conn, tokens)
	j := judgement{Snapshot: answer.Snapshot}
	for _, o := range answer.Outcomes {
		j.Statuses = append(j.Statuses, pgbarrier.Status(o))
	}
	return j, err
}

func (q *queryConn) notify(ctx context.Context, channel, payload string) error {
	return q.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_notify($1, $2)", channel, payload)
		return err
	})
}

func (q *queryConn) checkSchema(ctx context.Context) error {
	return q.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return pgbarrier.CheckSchema(ctx, conn)
	})
}
