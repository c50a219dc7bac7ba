// Package dial opens connections as a pool does, but outside of it: what waits must not depend on a pool whose
// connections may all be held by those who wait.
package dial

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

// ConnectTimeout is for one connection.
const ConnectTimeout = 10 * time.Second

const closeTimeout = time.Second

// A Dialer opens connections with the configuration and hooks of a pool.
type Dialer struct {
	Pool   *pgxpool.Config
	Direct *pgx.ConnConfig // instead of the pool's, if not nil
}

// Dial opens a connection, which the caller closes by [Close]. An error is of ErrNoRoom, of ErrHook, or pgx's.
func (d Dialer) Dial(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	config := cmp.Or(d.Direct, d.Pool.ConnConfig).Copy()
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pgbarrier"
	}
	// The pool's hooks may fetch a fresh password or set a role.
	if d.Pool.BeforeConnect != nil {
		if err := d.Pool.BeforeConnect(ctx, config); err != nil {
			return nil, fmt.Errorf("%w: BeforeConnect: %w", ErrHook, err)
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
		err = fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	if err != nil {
		return nil, err
	}
	if d.Pool.AfterConnect != nil {
		if err := d.Pool.AfterConnect(ctx, conn); err != nil {
			Close(conn)
			return nil, fmt.Errorf("%w: AfterConnect: %w", ErrHook, err)
		}
	}
	return conn, nil
}

// Why there is no connection.
var (
	ErrNoRoom = errors.New("no room for a connection")
	ErrHook   = errors.New("a hook of the pool failed") // perhaps because a source of passwords is down
)

// Close says goodbye to the server, with a context of its own: the caller's may have ended.
func Close(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx) // the socket is closed in any case
	// If a context ended during a statement, pgx closes by itself, in a goroutine that cancels the statement.
	select {
	case <-conn.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}
