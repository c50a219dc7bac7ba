package listener

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// errNotSent: a probe's connection was there, and the statement did not return in time.
var errNotSent = errors.New("the notification was not sent in time")

// watch probes the session when it has heard nothing for long, and replaces it when it does not hear, until
// ctx ends.
func (r *receiver) watch(ctx context.Context) {
	for ctx.Err() == nil {
		var due time.Time // zero: nothing will have to be done
		probe := false
		r.mu.Lock()
		s := r.session
		if s != nil && s.ended == nil {
			due = s.due
			probe = s.overdue == nil
		}
		now := !due.IsZero() && !time.Now().Before(due)
		if now && !probe {
			s.replace(s.overdue)
		}
		r.mu.Unlock()

		if !now {
			r.pause(ctx, due, r.changed)
		} else if probe {
			r.sendProbe(ctx, s)
		}
	}
}

// sendProbe sends a probe for the session, which has to hear something within half a heartbeat.
func (r *receiver) sendProbe(ctx context.Context, s *session) {
	begun := time.Now()
	payload := fmt.Sprintf("%016x", rand.Uint64())
	r.mu.Lock()
	s.payload = payload
	r.mu.Unlock()

	limited, cancel := context.WithTimeout(ctx, r.config.Heartbeat/2)
	err := r.probe(limited, payload)
	cancel()
	excuse := r.excuse(ctx, err)

	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case !s.heardAt.Before(begun): // that, or something else
	case err == nil:
		s.due, s.overdue = begun.Add(r.config.Heartbeat/2), errSilent // breakage: silent session replaced
		if s.proved.IsZero() {
			s.overdue = errDeaf
		}
	case excuse == "":
		s.replace(fmt.Errorf("%w: %w", errNoProbe, err))
	default:
		if s.excuse != excuse {
			r.config.Logger.Warn("pgbarrier: the LISTEN connection cannot be probed: "+excuse, "error", err)
		}
		s.excuse, s.due = excuse, time.Now().Add(r.config.Heartbeat/2)
	}
}

// excuse returns why it says nothing about the session that a probe could not be sent: no other could be
// probed either.
func (r *receiver) excuse(ctx context.Context, err error) string {
	switch {
	case errors.Is(err, errNoRoom):
		return "there is no room for the connection that sends probes"
	case errors.Is(err, errNotSent):
		limited, cancel := context.WithTimeout(ctx, r.config.Heartbeat/2)
		defer cancel()
		if holder, err := r.holder(limited); err == nil && holder != "" {
			return "a COMMIT holds the lock of NOTIFY (object 0 of pg_database) and holds up all notifications: " + holder
		}
	}
	return ""
}

// sendProbe sends a probe on a connection of its own: a NOTIFY that is held up must not hold up checks, and
// a pooler would route one of the LISTEN connection's own to a session that hears it by chance.
func (d dialer) sendProbe(ctx context.Context, payload string) error {
	conn, err := d.dial(ctx) // breakage: probe does not share the check connection
	if err != nil {
		return err
	}
	defer closeConn(conn)
	_, err = conn.Exec(ctx, "SELECT pg_catalog.pg_notify('"+probeChannel+"', $1)", payload)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	return err
}
