package relaynats

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/relay"
)

// A session is what one attempt of a client has asked for. Its messages are handled one at a time.
type session struct {
	inbox  string // where it is answered
	waits  *relay.Session
	origin uint32 // of all its tokens

	mu      sync.Mutex
	last    uint64 // request
	held    int    // waits whose end was not pushed
	heard   time.Time
	ack     bool   // is wanted
	lines   []line // not sent yet
	echo    uint64 // the last request when the first of lines came
	sent    uint64 // answers
	refused bool   // some of lines are busy
	queued  bool   // in the outbox
	gone    bool
}

// receive takes a message to this relay. It is called for one at a time.
func (s *server) receive(m message) {
	if !mayAnswer(m.reply) {
		return
	}
	v, k, d := open(m.data)
	if v != version {
		s.reply(m.reply, hello{version, version}.encode(kindMismatch))
		return
	}
	switch k {
	case kindRequest:
		var r request
		if err := r.decode(d); err != nil {
			s.config.Logger.Warn("pgbarrier: relaynats: a request cannot be read", "client", m.reply, "error", err)
			s.lose(m.reply)
			return
		}
		s.request(m.reply, r)
	case kindCheck:
		var c check
		if err := c.decode(d); err == nil {
			s.check(m.reply, c)
		}
	case kindBye:
		if ss := s.session(m.reply); ss != nil {
			s.end(ss, false)
		}
	}
}

func (s *server) session(inbox string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[inbox]
}

// begin returns a new session, or nil if there is no room for one, or if this relay ends.
func (s *server) begin(inbox string, origin uint32) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || len(s.sessions) >= s.config.MaxSessions {
		return nil
	}
	ss := &session{inbox: inbox, origin: origin, heard: time.Now()}
	ss.waits = s.relay.Open(func(id uint64, found pgbarrier.Status, index int) { s.answer(ss, id, found, index) })
	s.sessions[inbox] = ss
	return ss
}

// request does what a session asks for, if it is the next that it should ask.
func (s *server) request(inbox string, r request) {
	ss := s.session(inbox)
	if ss == nil && r.number == 1 {
		ss = s.begin(inbox, r.origin)
	}
	if ss == nil {
		s.lose(inbox)
		return
	}
	ss.mu.Lock()
	next := ss.last + 1
	ss.mu.Unlock()
	switch {
	case r.number < next: // a duplicate
		return
	case r.number > next || r.origin != ss.origin: // one was lost
		s.end(ss, true)
		return
	}
	cancelled := ss.waits.Cancel(r.cancels...)
	ss.mu.Lock()
	ss.last, ss.heard = r.number, time.Now()
	ss.held += len(r.waits) - cancelled
	ss.mu.Unlock()
	for _, w := range r.waits {
		switch err := ss.waits.Wait(w.id, w.tokens...); {
		case err == nil:
		case errors.Is(err, relay.ErrBusy):
			s.push(ss, line{id: w.id, status: busy})
		case errors.Is(err, pgbarrier.ErrInvalidToken):
			s.push(ss, line{id: w.id, status: status(pgbarrier.Invalid)})
		default: // the database is not served here any more
			s.end(ss, true)
			return
		}
	}
	if r.ping {
		ss.mu.Lock()
		ss.ack = true
		ss.mu.Unlock()
		s.queue(ss)
	}
}

// answer takes the outcome of a wait.
func (s *server) answer(ss *session, id uint64, found pgbarrier.Status, index int) {
	if found == pgbarrier.Pending { // Run has returned
		s.end(ss, true)
		return
	}
	s.push(ss, line{id: id, status: status(found), index: uint64(index)})
}

// end ends a session, and with tell lets its client know, who then asks again, elsewhere perhaps.
func (s *server) end(ss *session, tell bool) {
	ss.mu.Lock()
	gone := ss.gone
	ss.gone = true
	ss.mu.Unlock()
	if gone {
		return
	}
	s.mu.Lock()
	delete(s.sessions, ss.inbox)
	s.mu.Unlock()
	ss.waits.Close()
	if tell {
		s.lose(ss.inbox)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// lose tells a client that it has no session here.
func (s *server) lose(inbox string) { s.reply(inbox, start(version, kindGone)) }

// expire ends the sessions of which nothing was heard for a lease, until ctx ends.
func (s *server) expire(ctx context.Context) {
	tick := time.NewTicker(s.config.Lease / 8)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		var silent []*session
		s.mu.Lock()
		for _, ss := range s.sessions {
			ss.mu.Lock()
			if time.Since(ss.heard) > s.config.Lease {
				silent = append(silent, ss)
			}
			ss.mu.Unlock()
		}
		s.mu.Unlock()
		for _, ss := range silent {
			s.end(ss, true)
		}
	}
}
