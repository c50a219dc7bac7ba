package listener

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// HandleNotification takes a notification on [Channel] from a receive loop of the application's own. With
// HandleBacklog it makes the Listener a handler of github.com/jackc/pgxlisten, so that an application that runs
// one needs no second LISTEN connection:
//
//	l, err := listener.New(pool, listener.Config{PollOnly: true})
//	pgxListener.Handle(listener.Channel, l)
//
// The error, for a notification that is no announcement, is for the loop's log. conn is not used.
func (l *Listener) HandleNotification(_ context.Context, n *pgconn.Notification, _ *pgx.Conn) error {
	if n.Channel != Channel {
		return nil
	}
	return l.waits.hear(n.Payload)
}

// HandleBacklog must be called whenever the loop has begun to listen, after a reconnect too: what was announced
// before was missed, and is found by a check. So is what is waited for after its announcement, because nothing
// tells that the loop's connection was lost, perhaps in a crash. conn is not used.
func (l *Listener) HandleBacklog(context.Context, string, *pgx.Conn) error {
	l.waits.recheck()
	return nil
}
