package listener

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgxlisten"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// errNotSent: a probe's connection was there, and the statement did not return in time.
var errNotSent = errors.New("the notification was not sent in time")

// listen is the receive loop: pgxlisten connects, listens on both channels, receives, and begins again,
// until ctx ends. It owns the connection; watch ends a session from outside.
func (r *receiver) listen(ctx context.Context, dial func(ctx context.Context) (*pgx.Conn, error)) {
	var conn *pgx.Conn // of the current session
	missing := 0       // channels that it does not listen on yet; they come in any order
	close := func() {
		if conn != nil {
			// pgxlisten has closed it, with ctx, which may have ended. This waits for what pgx does about it
			// in a goroutine of its own.
			closeConn(conn)
			conn = nil
		}
	}
	defer close()

	loop := &pgxlisten.Listener{
		ReconnectDelay: -1, // none: await has a better one
		Connect: func(ctx context.Context) (_ *pgx.Conn, err error) {
			r.await(ctx)
			if conn, err = dial(ctx); err != nil {
				return nil, err
			}
			missing = 2
			// To close it would leave a goroutine of pgx for 15 s.
			socket := conn.PgConn().Conn()
			r.connect(func() { _ = socket.SetDeadline(time.Now()) })
			return conn, nil
		},
		LogError: func(ctx context.Context, err error) {
			if errors.Unwrap(err) == nil {
				return // a channel of somebody else's, on which a hook of the pool listens
			}
			close()
			if wire.SQLState(err) == wire.ReadOnlySQLTransaction { // LISTEN during recovery
				err = fmt.Errorf("pgbarrier: listen: %w (%w)", pgbarrier.ErrStandby, err)
			}
			r.lose(ctx, err)
		},
	}
	h := handler{
		backlog: func() {
			if missing--; missing == 0 {
				r.listens()
			}
		},
		notification: func(ctx context.Context, n *pgconn.Notification) {
			if r.hear(n.Channel, n.Payload) {
				// Not before: through a pooler it would be for somebody else's session.
				limited, cancel := context.WithTimeout(ctx, firstTimeout)
				defer cancel()
				_, _ = conn.Exec(limited, "SET idle_session_timeout = 0 /* the session that LISTENs */") // if it fails, the loop will see
			}
		},
	}
	loop.Handle(Channel, h)
	loop.Handle(probeChannel, h)
	_ = loop.Listen(ctx) // that ctx has ended
}

// A handler makes pgxlisten call the receiver.
type handler struct {
	backlog      func()
	notification func(ctx context.Context, n *pgconn.Notification)
}

func (h handler) HandleBacklog(context.Context, string, *pgx.Conn) error {
	h.backlog()
	return nil
}

func (h handler) HandleNotification(ctx context.Context, n *pgconn.Notification, _ *pgx.Conn) error {
	h.notification(ctx, n)
	return nil
}

// sendProbe sends a probe on a connection of its own: a NOTIFY that is held up must not hold up checks, and
// a pooler would route one of the LISTEN connection's own to a session that hears it by chance.
func (d dialer) sendProbe(ctx context.Context, payload string) error {
	conn, err := d.dial(ctx) // breakage: probe does not share the check connection
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if _, err = conn.Exec(ctx, "SELECT pg_catalog.pg_notify('"+probeChannel+"', $1)", payload); err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	return err
}
