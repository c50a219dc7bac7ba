package relaynats

import (
	"context"
	"sync"
	"time"
)

// An outbox holds the sessions that something is to be sent to.
type outbox struct {
	wake chan struct{} // capacity 1

	mu       sync.Mutex
	sessions []*session
}

func newOutbox() outbox { return outbox{wake: make(chan struct{}, 1)} }

// maxLines bounds what one message carries.
const maxLines = maxMessage / 16

// push adds a line to what a session is to be sent.
func (s *server) push(ss *session, l line) {
	ss.mu.Lock()
	if len(ss.lines) == 0 {
		// Not the last request when the message is sent: what was true when it was learnt may not be any more.
		ss.echo = ss.last
	}
	ss.lines = append(ss.lines, l)
	ss.refused = ss.refused || l.status == busy
	ss.held--
	ss.mu.Unlock()
	s.queue(ss)
}

// queue makes sure that a session's lines, and its acknowledgement, are sent.
func (s *server) queue(ss *session) {
	ss.mu.Lock()
	queued := ss.queued
	ss.queued = true
	ss.mu.Unlock()
	if queued {
		return
	}
	s.out.mu.Lock()
	s.out.sessions = append(s.out.sessions, ss)
	s.out.mu.Unlock()
	select {
	case s.out.wake <- struct{}{}:
	default:
	}
}

// send sends what is queued until ctx ends.
func (s *server) send(ctx context.Context) {
	for {
		select {
		case <-s.out.wake:
		case <-ctx.Done():
			return
		}
		s.out.mu.Lock()
		sessions := s.out.sessions
		s.out.sessions = nil
		s.out.mu.Unlock()
		for _, ss := range sessions {
			s.sendTo(ss)
		}
	}
}

// sendTo sends a session what there is. What cannot be sent is missing from the numbers, and so found out.
func (s *server) sendTo(ss *session) {
	unwell := !s.relay.Answering(ss.origin)
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.queued = false
	for (len(ss.lines) > 0 || ss.ack) && !ss.gone {
		n := min(len(ss.lines), maxLines)
		ss.sent++
		a := answers{number: ss.sent, echo: ss.echo, lines: ss.lines[:n]}
		if n == 0 {
			a.echo = ss.last
		}
		if ss.lines = ss.lines[n:]; len(ss.lines) == 0 {
			ss.lines = nil
			a.ack, a.seen, a.held = true, ss.last, uint64(ss.held)
		}
		if ss.refused {
			a.retry = s.config.RetryAfter
		}
		a.unwell, a.draining = unwell, s.isDraining()
		s.reply(ss.inbox, a.encode())
		if len(ss.lines) == 0 {
			ss.ack, ss.refused = false, false
		}
	}
}

func (s *server) isDraining() bool {
	select {
	case <-s.relay.Draining():
		return true
	default:
		return false
	}
}

// since is how long ago t was, by the clock that is ahead: the monotonic one stands still while a machine sleeps.
func since(now, t time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}
