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
	closeTimeout   = time.Second
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
