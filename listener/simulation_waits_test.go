package listener

import (
	"context"
	"errors"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// A simWait is one wait: a subscription, one with a function, or a call of Listener.Wait.
type simWait struct {
	number   uint64
	barriers []*simBarrier
	ended    func() bool
	err      func() error // when it has ended
	cancel   func()
	canceled bool
	begun    time.Time

	function bool // WaitFunc
	called   int
}

// A simQuestion is a call of Listener.Check.
type simQuestion struct {
	number   uint64
	barriers []*simBarrier
	certain  []bool // whether the outcome of each can be found since it was asked for
	done     chan struct{}
	statuses []pgbarrier.Status
	err      error
	cancel   func()
	canceled bool
	begun    time.Time
}

// someBarriers returns n, mostly recent ones.
func (s *simulation) someBarriers(n int) (barriers []*simBarrier) {
	for range n {
		switch p := s.rng.IntN(40); {
		case len(s.barriers) == 0:
			return nil
		case p == 0: // of another database, with an xid that may be running in this one
			xid := 1000 + s.rng.Uint64N(s.server.db.next-1000+1)
			barriers = append(barriers, s.known(&simBarrier{token: s.server.db.newToken(xid, simOrigin+1)}))
		case p == 1: // never created
			barriers = append(barriers, s.known(&simBarrier{token: s.server.db.newToken(s.server.db.next-1, simOrigin)}))
		default:
			i := len(s.barriers) - 1 - min(s.rng.IntN(len(s.barriers)), s.rng.IntN(len(s.barriers)))
			barriers = append(barriers, s.barriers[i])
		}
	}
	return barriers
}

func (s *simulation) wait() {
	n := 1
	if s.chance(0.2) {
		n += s.rng.IntN(3)
	}
	if barriers := s.someBarriers(n); barriers != nil {
		s.subscribe(barriers)
	}
}

func tokensOf(barriers []*simBarrier) []pgbarrier.Token {
	tokens := make([]pgbarrier.Token, len(barriers))
	for i, b := range barriers {
		tokens[i] = b.token
	}
	return tokens
}

func (s *simulation) subscribe(barriers []*simBarrier) {
	s.last++
	w := &simWait{number: s.last, barriers: barriers, begun: time.Now()}
	for _, b := range barriers {
		// Another wait for b may have its outcome already and go on for other tokens: then b is new.
		if b.live++; b.live == 1 {
			b.since = w.begun
		}
		b.joined, b.asked, b.among = w.begun, false, b.among || len(barriers) > 1
	}
	s.live = append(s.live, w)
	s.log("wait; barriers, the first", w.number, uint64(len(barriers)), barriers[0].number)
	tokens := tokensOf(barriers)
	switch p := s.rng.IntN(5); {
	case p == 0:
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		var err error
		w.ended, w.err, w.cancel = func() bool { return closed(done) }, func() error { return err }, cancel
		go func() {
			defer close(done)
			defer cancel()
			err = s.listener.Wait(ctx, tokens...)
		}()
		synctest.Wait()
	case p == 1 && !s.deciding || p == 2:
		w.function = true
		sub := s.listener.subscribe(func(err error) { s.callback(w, err) }, tokens)
		w.ended, w.err, w.cancel = func() bool { return sub.Err() != ErrPending }, sub.Err, sub.Close
	default:
		sub := s.listener.Subscribe(tokens...)
		done := sub.Done()
		w.ended, w.err, w.cancel = func() bool { return closed(done) }, sub.Err, sub.Close
	}
}

// callback is what WaitFunc calls.
func (s *simulation) callback(w *simWait, err error) {
	w.called++
	if !s.waits.mu.TryLock() {
		s.fail("callback: the function of wait %d is called with the lock held", w.number)
		return
	}
	s.waits.mu.Unlock()
	s.log("callback", w.number)
	if w.ended != nil && w.err() != err {
		s.fail("callback: wait %d ended with %v, its function was told %v", w.number, w.err(), err)
	}
	if !s.deciding {
		s.turns.yield()
	}
}

// judgeCallbacks: once for every wait that has ended, and not for one that was closed before.
func (s *simulation) judgeCallbacks() {
	for _, w := range s.functions {
		want := 1
		if w.canceled && errors.Is(w.err(), errSubscriptionClosed) {
			want = 0
		}
		if w.called != want {
			s.fail("callback: the function of wait %d, which ended with %v, was called %d times", w.number, w.err(), w.called)
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// question calls Listener.Check.
func (s *simulation) question() {
	barriers := s.someBarriers(1 + s.rng.IntN(3))
	if barriers == nil {
		return
	}
	s.last++
	ctx, cancel := context.WithCancel(context.Background())
	q := &simQuestion{number: s.last, barriers: barriers, begun: time.Now(), done: make(chan struct{}), cancel: cancel}
	for _, b := range barriers {
		q.certain = append(q.certain, s.server.db.status(b.token) != pgbarrier.Pending)
	}
	s.questions = append(s.questions, q)
	s.log("question; the first", q.number, barriers[0].number)
	go func() {
		defer close(q.done)
		defer cancel()
		q.statuses, q.err = s.listener.Check(ctx, tokensOf(barriers)...)
	}()
	synctest.Wait()
}

// judgeQuestions looks at what has been answered since the last step.
func (s *simulation) judgeQuestions() {
	open := s.questions[:0]
	for _, q := range s.questions {
		if !closed(q.done) {
			open = append(open, q)
			continue
		}
		s.log("answer", q.number)
		switch {
		case q.err == nil:
			for i, b := range q.barriers {
				s.judgeStatus(q, b, q.statuses[i], q.certain[i])
			}
		case q.canceled && errors.Is(q.err, context.Canceled):
		case s.stopped && errors.Is(q.err, pgbarrier.ErrClosed):
		default:
			s.fail("question: %d ended with %v", q.number, q.err)
		}
	}
	s.questions = open
}

// judgeStatus: a question is answered by a check that begins after it, so what could be found then is.
func (s *simulation) judgeStatus(q *simQuestion, b *simBarrier, status pgbarrier.Status, certain bool) {
	switch {
	case status == pgbarrier.Pending:
		if certain {
			s.fail("question: %d was told that barrier %d is pending, which it was not when it was asked", q.number, b.number)
		}
	case status == pgbarrier.Committed:
		if !b.seen {
			s.fail("question: %d was told that barrier %d of %d has committed, which was never visible", q.number, b.number, b.token.XID)
		}
	default:
		var outcome *pgbarrier.TokenError
		if errors.As(status.Err(b.token), &outcome) && !s.right(b, outcome.Err) {
			s.fail("question: %d was told that barrier %d is %v, which it is not", q.number, b.number, status)
		}
	}
}
