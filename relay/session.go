package relay

import (
	"slices"
	"sync"

	"github.com/pgbarrier/pgbarrier"
)

// A Session holds the waits of one client. Its methods may be called by any number of goroutines at once.
type Session struct {
	relay *Relay
	ended func(id uint64, status pgbarrier.Status, index int)

	mu     sync.Mutex
	waits  map[uint64]*wait
	tokens int    // that are waited for
	calls  uint64 // of WaitFunc
	closed bool
}

// A wait is one of a session's. It is small because there are very many.
type wait struct {
	session *Session
	id      uint64
	stop    func() // guarded by session.mu; nil until the database has returned it
	more    *more  // of the wait that is not the usual one, for one token and with an id; nil otherwise
}

type more struct {
	tokens []pgbarrier.Token
	call   func(error)
}

// Open begins a session, which must be closed. ended is told once how each of its waits has ended: the status is
// Committed, or the first other that was found, and the index is that token's place in the wait. Pending means that
// there is no outcome and will be none here, because Run has returned. ended is called without locks held, by
// [Session.Wait] itself or by a listener's goroutine, which it must not hold up, and until a moment
// after Close. A session that uses WaitFunc alone needs none.
func (r *Relay) Open(ended func(id uint64, status pgbarrier.Status, index int)) *Session {
	r.sessions.Add(1)
	return &Session{relay: r, ended: ended, waits: make(map[uint64]*wait)}
}

// Wait begins a wait for all of the tokens, which it does not keep. If one with that id has not ended, it does nothing.
// The error is [ErrBusy], [ErrUnknownDatabase], pgbarrier.ErrInvalidToken, or pgbarrier.ErrClosed after Close; the
// wait has not begun then.
func (s *Session) Wait(id uint64, tokens ...pgbarrier.Token) error {
	w := &wait{session: s, id: id}
	if len(tokens) > 1 {
		w.more = &more{tokens: slices.Clone(tokens)}
	}
	return s.begin(w, tokens)
}

// WaitFunc begins a wait with a function in place of an id, for transports that keep a request open for each wait. f
// is called in place of what Open was given, as [listener.Listener.WaitFunc] says, with pgbarrier.ErrClosed if there is
// no outcome. After stop it is not called, unless the wait had just ended. The errors are those of Wait, whose ids must
// be below 1<<63 if a session has both.
func (s *Session) WaitFunc(f func(err error), tokens ...pgbarrier.Token) (stop func(), err error) {
	s.mu.Lock()
	id := 1<<63 | s.calls
	s.calls++
	s.mu.Unlock()
	w := &wait{session: s, id: id, more: &more{call: f, tokens: slices.Clone(tokens)}}
	if err := s.begin(w, tokens); err != nil {
		return nil, err
	}
	return func() { s.Cancel(id) }, nil
}

func (s *Session) begin(w *wait, tokens []pgbarrier.Token) error {
	database, err := s.relay.of(tokens)
	if err != nil {
		return err
	}
	if known, err := s.accept(w); known || err != nil {
		return err
	}
	stop := database.WaitFunc(w.end, tokens...)
	s.mu.Lock()
	over := s.waits[w.id] != w // it has ended, or was cancelled, before it could be stopped
	if !over {
		w.stop = stop
	}
	s.mu.Unlock()
	if over {
		stop()
	}
	return nil
}

// accept takes w among the session's waits, unless there is one with its id or no room.
func (s *Session) accept(w *wait) (known bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, pgbarrier.ErrClosed
	}
	if s.waits[w.id] != nil {
		return true, nil
	}
	n := w.size()
	if s.tokens+n > s.relay.config.MaxSessionTokens || !s.relay.reserve(n) {
		s.relay.counts.refused.Add(1)
		return false, ErrBusy
	}
	s.tokens += n
	s.waits[w.id] = w
	return false, nil
}

// end is called when the listener has ended the wait.
func (w *wait) end(err error) {
	s := w.session
	s.mu.Lock()
	waiting := s.waits[w.id] == w
	if waiting {
		s.remove(w)
	}
	s.mu.Unlock()
	if !waiting {
		return
	}
	status, index := outcome(err, w.tokens())
	s.relay.counts.ended[status].Add(1)
	if w.more != nil && w.more.call != nil {
		w.more.call(err)
	} else {
		s.ended(w.id, status, index)
	}
}

// Cancel ends waits without telling of it, and returns how many had not ended.
func (s *Session) Cancel(ids ...uint64) (cancelled int) {
	for _, id := range ids {
		s.mu.Lock()
		w := s.waits[id]
		var stop func()
		if w != nil {
			stop = w.stop
			s.remove(w)
			cancelled++
		}
		s.mu.Unlock()
		if stop != nil {
			stop()
		}
	}
	return cancelled
}

// Waits returns how many have not ended.
func (s *Session) Waits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waits)
}

// Close cancels what has not ended. It may be called more than once.
func (s *Session) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	waits := s.waits
	s.waits = nil
	s.relay.tokens.Add(-int64(s.tokens))
	s.tokens = 0
	s.mu.Unlock()
	s.relay.sessions.Add(-1)
	for _, w := range waits {
		s.mu.Lock()
		stop := w.stop
		s.mu.Unlock()
		if stop != nil {
			stop()
		}
	}
}

// remove is called with mu held.
func (s *Session) remove(w *wait) {
	delete(s.waits, w.id)
	s.tokens -= w.size()
	s.relay.tokens.Add(-int64(w.size()))
}

// tokens returns nil if the wait is for one.
func (w *wait) tokens() []pgbarrier.Token {
	if w.more == nil {
		return nil
	}
	return w.more.tokens
}

func (w *wait) size() int { return max(1, len(w.tokens())) }

// reserve reports whether n more tokens may be waited for, which are then counted.
func (r *Relay) reserve(n int) bool {
	if r.tokens.Add(int64(n)) <= int64(r.config.MaxTokens) {
		return true
	}
	r.tokens.Add(-int64(n))
	return false
}
