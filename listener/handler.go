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

// HandleBacklog must be called whenever the loop has begun to listen, after a reconnect too: what was
// announced before then was missed, and all that is waited for is checked. conn is not used.
//
// A wait that begins after its announcement takes a check: nothing tells the Listener at once that the
// loop's connection is lost, with which a crash could have taken a commit that it remembered.
func (l *Listener) HandleBacklog(context.Context, string, *pgx.Conn) error {
	l.waits.recheck()
	return nil
}
