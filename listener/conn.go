package listener

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

const (
	connectTimeout = 10 * time.Second
	// queryTimeout is how long a statement may take at most before its connection is taken for dead, and
	// firstTimeout how long if none has taken long of late.
	queryTimeout = 15 * time.Second
	firstTimeout = 2 * time.Second
	closeTimeout = time.Second
)

// A dialer opens connections the way a pool does, but outside of it: waits must not depend on a pool
// whose connections may all be held by those who wait.
type dialer struct {
	config *pgxpool.Config
	// direct replaces the pool's connection config, if not nil.
	direct *pgx.ConnConfig
}

func (d dialer) dial(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	config := d.direct
	if config == nil {
		config = d.config.ConnConfig
	}
	config = config.Copy()
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pgbarrier"
	}
	// The pool's hooks may fetch a fresh password or set a role.
	if d.config.BeforeConnect != nil {
		if err := d.config.BeforeConnect(ctx, config); err != nil {
			return nil, fmt.Errorf("%w: BeforeConnect: %w", errHook, err)
		}
	}
	// The application's handler would take what a session waits for, and its way of ending a statement may
	// wait for an answer that a dead connection never gives.
	config.OnNotification = nil
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if d.config.AfterConnect != nil {
		if err := d.config.AfterConnect(ctx, conn); err != nil {
			closeConn(conn)
			return nil, fmt.Errorf("%w: AfterConnect: %w", errHook, err)
		}
	}
	return conn, nil
}

// errHook: a hook may fail because something else is down, a source of passwords for example.
var errHook = errors.New("a hook of the pool failed")

// closeConn says goodbye to the server, with a context of its own: the caller's may have ended.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx) // nothing to be done about it, the socket is closed in any case
	// If a context ended during a statement, pgx has begun to close by itself, in a goroutine that
	// cancels the statement.
	select {
	case <-conn.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}

// listen opens a session that listens on the channels.
func (d dialer) listen(ctx context.Context, channels ...string) (session, error) {
	conn, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	// The session idles for as long as nothing is announced.
	statements := []string{"SET idle_session_timeout = 0"}
	for _, channel := range channels {
		statements = append(statements, "LISTEN "+pgx.Identifier{channel}.Sanitize())
	}
	if _, err := conn.Exec(ctx, strings.Join(statements, ";")); err != nil {
		closeConn(conn)
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && pgErr.Code == "25006" { // read_only_sql_transaction: LISTEN during recovery
			err = fmt.Errorf("pgbarrier: listen: %w (%w)", pgbarrier.ErrStandby, err)
		}
		return nil, err
	}
	return pgxSession{conn}, nil
}

type pgxSession struct{ conn *pgx.Conn }

func (s pgxSession) next(ctx context.Context) (channel, payload string, err error) {
	n, err := s.conn.WaitForNotification(ctx)
	if err != nil {
		return "", "", err
	}
	return n.Channel, n.Payload, nil
}

func (s pgxSession) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return s.conn.Ping(ctx)
}

func (s pgxSession) close() { closeConn(s.conn) }

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

func (q *queryConn) judge(ctx context.Context, tokens []pgbarrier.Token) (judgement pgbarrier.Judgement, err error) {
	err = q.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		judgement, err = pgbarrier.Judge(ctx, conn, tokens...)
		return err
	})
	return judgement, err
}

func (q *queryConn) watch(ctx context.Context, tokens []pgbarrier.Token, xids []uint64, patience, pause time.Duration) (judgement pgbarrier.Judgement, err error) {
	err = q.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		judgement, err = pgbarrier.Watch(ctx, conn, tokens, xids, patience, pause)
		return err
	})
	return judgement, err
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
