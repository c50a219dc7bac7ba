package listener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

const connectTimeout, closeTimeout = 10 * time.Second, time.Second

// A dialer opens connections the way a pool does, but outside of it: waits must not depend on a pool
// whose connections may all be held by those who wait.
type dialer struct {
	pool   *pgxpool.Config
	direct *pgx.ConnConfig // instead of the pool's, if not nil
}

func (d dialer) dial(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	config := cmp.Or(d.direct, d.pool.ConnConfig).Copy()
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pgbarrier"
	}
	// The pool's hooks may fetch a fresh password or set a role.
	if d.pool.BeforeConnect != nil {
		if err := d.pool.BeforeConnect(ctx, config); err != nil {
			return nil, fmt.Errorf("%w: BeforeConnect: %w", errHook, err)
		}
	}
	// The application's handler would take what a session waits for; its way of ending a statement may
	// wait for an answer that a dead connection never gives; and its tracer would be told of checks.
	config.OnNotification = nil                                                   // breakage: pool's OnNotification dropped
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler { // breakage: ctx-watcher replaced
		return &pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}
	}
	config.Tracer = nil
	conn, err := pgx.ConnectConfig(ctx, config)
	if strings.HasPrefix(wire.SQLState(err), "53") { // too_many_connections, and the rest of insufficient_resources
		err = fmt.Errorf("%w: %w", errNoRoom, err)
	}
	if err != nil {
		return nil, err
	}
	if d.pool.AfterConnect != nil {
		if err := d.pool.AfterConnect(ctx, conn); err != nil {
			closeConn(conn)
			return nil, fmt.Errorf("%w: AfterConnect: %w", errHook, err)
		}
	}
	return conn, nil
}

var (
	errNoRoom = errors.New("no room for a connection")
	errHook   = errors.New("a hook of the pool failed") // perhaps because a source of passwords is down
)

// closeConn says goodbye to the server, with a context of its own: the caller's may have ended.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx) // the socket is closed in any case
	// If a context ended during a statement, pgx closes by itself, in a goroutine that cancels the statement.
	select {
	case <-conn.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}
