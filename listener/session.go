package listener

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pgbarrier/pgbarrier/internal/dial"
)

// Why a LISTEN connection is replaced.
var (
	// errDeaf: LISTEN was accepted, the connection works, and nothing was ever heard.
	errDeaf = errors.New("the LISTEN connection does not hear what is sent to it: it may go through a pooler " +
		"in transaction mode or to another database; set Config.ListenConnString to a direct connection")
	errSilent    = errors.New("the LISTEN connection went silent")
	errGivenBack = errors.New("the LISTEN connection was given back: the server has no room for it and for checks")
)

// A session is what is known of one LISTEN connection.
type session struct {
	end     func()    // makes its loop give it up; may be called from anywhere
	close   func()    // returns when nothing is left of it
	missing int       // channels that it does not listen on yet
	proved  time.Time // since when it is known to hear; zero: not yet
	heardAt time.Time // last
	due     time.Time // until when nothing has to be done about it; then it has to be probed,
	overdue error     // or replaced, if this is not nil
	payload string    // of the last probe
	excuse  string    // why it could not be probed the last time
	ended   error     // why it is being replaced; nil: it is not
}

// hears takes note of a notification, after which nothing has to be done until then. It reports whether it is
// the session's first own probe, before which nothing proves anything: through a pooler that will deliver nothing
// more, it may have come with the answer to LISTEN.
func (s *session) hears(payload string, now, until time.Time) (first bool) {
	first = s.proved.IsZero()
	if first && payload != s.payload {
		return false
	}
	if first {
		s.proved = now
	}
	s.heardAt, s.due, s.overdue, s.excuse = now, until, nil, ""
	return first
}

// replace ends the session.
func (s *session) replace(reason error) {
	if s.ended == nil {
		s.ended = reason
		s.end()
	}
}

// errNotSent: a probe's connection was there, and the statement did not return in time.
var errNotSent = errors.New("the notification was not sent in time")

// watch probes the session when it has heard nothing for long, and replaces it when it does not hear.
func (r *receiver) watch(ctx context.Context) {
	for ctx.Err() == nil {
		var due time.Time // zero: nothing will have to be done
		probe := false
		r.mu.Lock()
		s := r.session
		if s.ended == nil {
			due, probe = s.due, s.overdue == nil
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
		s.replace(fmt.Errorf("cannot send a notification to the LISTEN connection: %w", err))
	default:
		if s.excuse != excuse {
			r.config.Logger.Warn("pgbarrier: the LISTEN connection cannot be probed: "+excuse, "error", err)
		}
		s.excuse, s.due = excuse, time.Now().Add(r.config.Heartbeat/2)
	}
}

// excuse returns why no session could be probed now, if that is so.
func (r *receiver) excuse(ctx context.Context, err error) string {
	switch {
	case errors.Is(err, dial.ErrNoRoom):
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

// sendProbe sends a probe on a connection of its own: a NOTIFY that is held up must not hold up checks, and a
// pooler would take one of the LISTEN connection's own to where that listens by chance.
func (l *Listener) sendProbe(ctx context.Context, payload string) error {
	conn, err := l.outside.Dial(ctx) // breakage: probe does not share the check connection
	if err != nil {
		return err
	}
	defer dial.Close(conn)
	_, err = conn.Exec(ctx, "SELECT pg_catalog.pg_notify('"+probeChannel+"', $1)", payload)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	return err
}
