package listener

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier"
)

// A simServer stands between the listener and the simDatabase: connections, statements that take
// time, and all that goes wrong with them. The listener's goroutines hand it calls and wait; only
// the simulation's goroutine decides what becomes of a call, and when.
type simServer struct {
	*simulation
	db       *simDatabase
	up       bool
	faulty   float64 // share of statements that go wrong
	lossy    float64 // share of notifications that are lost, or come twice
	sessions []*simSession
	newest   *simSession // the listener's last
	checks   simConn     // and pulses
	watches  simConn
	watching *simWatch
}

// A simConn is what a queryConn keeps: one statement at a time.
type simConn struct {
	life  int // the database's, in which it was opened; 0: none; -1: broken
	busy  *simCall
	queue []*simCall
}

// latency bounds each half of a statement, before and after its snapshot, when nothing is wrong.
const latency = 500 * time.Microsecond

type callKind uint8

const (
	callJudge callKind = iota
	callNotify
	callWatch
	callListen
	callPing
)

type simCall struct {
	kind             callKind
	conn             *simConn // or nil
	check            uint64   // callJudge: the check's number
	tokens           []pgbarrier.Token
	watch            *simWatch // callWatch
	channel, payload string
	session          *simSession
	reused           bool // it runs on a connection that was open
	answering        bool // its snapshot has been taken
	attempt          int
	reply            chan simReply
}

type simReply struct {
	judgement pgbarrier.Judgement
	session   *simSession
	err       error
	lost      bool // the connection turned out to be closed: see queryConn.do
	again     bool // and there is a second attempt
}

// A mailbox is where calls wait for the simulation's goroutine.
type mailbox struct {
	mu        sync.Mutex
	calls     []*simCall
	heard     []string // payloads on Channel that next has returned
	connected int      // sessions found and lost
	signal    chan struct{}
}

// ask hands over a call and waits for the answer.
func (m *mailbox) ask(c *simCall) simReply {
	m.mu.Lock()
	m.calls = append(m.calls, c)
	m.mu.Unlock()
	m.ring()
	return <-c.reply
}

func (m *mailbox) ring() {
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// query is queryConn.do.
func (s *simServer) query(c *simCall) simReply {
	c.reply = make(chan simReply, 1)
	for {
		r := s.box.ask(c)
		if r.lost {
			s.waits.recheck() // as New has it
		}
		if !r.again {
			return r
		}
	}
}

func (s *simServer) judge(_ context.Context, tokens []pgbarrier.Token) (pgbarrier.Judgement, error) {
	r := s.query(&simCall{kind: callJudge, conn: &s.checks, check: s.checker.number, tokens: tokens})
	return r.judgement, r.err
}

func (s *simServer) notify(_ context.Context, channel, payload string) error {
	return s.query(&simCall{kind: callNotify, conn: &s.checks, channel: channel, payload: payload}).err
}

func (s *simServer) watch(_ context.Context, tokens []pgbarrier.Token, xids []uint64, patience, pause time.Duration) (pgbarrier.Judgement, error) {
	r := s.query(&simCall{kind: callWatch, conn: &s.watches, tokens: tokens, watch: newSimWatch(tokens, xids, patience, pause)})
	return r.judgement, r.err
}

func (s *simServer) listen(_ context.Context, channels ...string) (session, error) {
	r := s.box.ask(&simCall{kind: callListen, channel: channels[1], reply: make(chan simReply, 1)})
	return r.session, r.err
}

// A simSession is a LISTEN connection. next prefers what has arrived to the connection's end, and
// both to its context's, so that it does not matter how the scheduler orders them.
type simSession struct {
	server *simServer
	pulse  string
	deaf   bool
	life   int // the database's, when it began

	mu      sync.Mutex
	arrived [][2]string
	broken  bool
	closed  bool // by the listener
	changed chan struct{}
}

var (
	errRefused = &pgconn.PgError{Code: "57P03", Message: "the database system is starting up"}
	errDenied  = &pgconn.PgError{Code: "42501", Message: "permission denied"}
	errStopped = errors.New("the simulation is over")
)

func (s *simSession) next(ctx context.Context) (channel, payload string, err error) {
	for {
		ended := ctx.Err()
		s.mu.Lock()
		switch {
		case len(s.arrived) > 0:
			n := s.arrived[0]
			s.arrived = s.arrived[1:]
			s.mu.Unlock()
			if n[0] == Channel {
				s.server.box.mu.Lock()
				s.server.box.heard = append(s.server.box.heard, n[1])
				s.server.box.mu.Unlock()
				s.server.box.ring()
			}
			return n[0], n[1], nil
		case s.broken:
			ended = errBroken
		}
		s.mu.Unlock()
		if ended != nil {
			return "", "", ended
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
		}
	}
}

func (s *simSession) ping(context.Context) error {
	return s.server.box.ask(&simCall{kind: callPing, session: s, reply: make(chan simReply, 1)}).err
}

func (s *simSession) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.fail()
}

func (s *simSession) fail() {
	s.mu.Lock()
	s.broken = true
	s.mu.Unlock()
	s.wake()
}

func (s *simSession) state() (broken, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken, s.closed
}

func (s *simSession) deliver(channel, payload string) {
	if s.deaf {
		return
	}
	s.mu.Lock()
	if !s.broken {
		s.arrived = append(s.arrived, [2]string{channel, payload})
	}
	s.mu.Unlock()
	s.wake()
}

func (s *simSession) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
