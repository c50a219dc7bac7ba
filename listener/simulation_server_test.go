package listener

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier"
)

// A simServer stands between the listener and the simDatabase: connections, statements that take
// time, and all that goes wrong with them. The listener's goroutines hand it calls and stop; only
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
	calls    []*simCall // that were just made
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
	answered         bool
	reply            simReply
}

type simReply struct {
	judgement pgbarrier.Judgement
	session   *simSession
	err       error
	life      int  // the database's that answered; 0: it did not
	lost      bool // the connection turned out to be closed: see queryConn.do
	again     bool // and there is a second attempt
}

func (c *simCall) answer(r simReply) { c.reply, c.answered = r, true }

// ask hands over a call and stops until it is answered.
func (s *simServer) ask(c *simCall) simReply {
	c.answered = false
	s.calls = append(s.calls, c)
	s.turns.await(time.Time{}, func() bool { return c.answered || s.joining })
	if !c.answered {
		return simReply{err: errStopped}
	}
	return c.reply
}

// query is queryConn.do.
func (s *simServer) query(c *simCall) simReply {
	for {
		r := s.ask(c)
		s.contact = max(s.contact, r.life)
		if r.lost {
			// As New has it.
			if c.conn == &s.checks {
				s.waits.lostCheck()
			} else {
				s.waits.recheck()
			}
			s.forgets()
		}
		if !r.again {
			return r
		}
	}
}

func (s *simServer) judge(_ context.Context, tokens []pgbarrier.Token) (pgbarrier.Judgement, error) {
	r := s.query(&simCall{kind: callJudge, conn: &s.checks, check: s.checker.number, tokens: tokens})
	s.answered(r)
	return r.judgement, r.err
}

func (s *simServer) notify(_ context.Context, channel, payload string) error {
	return s.query(&simCall{kind: callNotify, conn: &s.checks, channel: channel, payload: payload}).err
}

func (s *simServer) watch(_ context.Context, tokens []pgbarrier.Token, xids []uint64, patience, pause time.Duration) (pgbarrier.Judgement, error) {
	c := &simCall{kind: callWatch, conn: &s.watches, tokens: tokens, watch: newSimWatch(tokens, xids, patience, pause)}
	r := s.query(c)
	s.watched(c, r)
	return r.judgement, r.err
}

func (s *simServer) listen(_ context.Context, channels ...string) (session, error) {
	r := s.ask(&simCall{kind: callListen, channel: channels[1]})
	return r.session, r.err
}

// A simSession is a LISTEN connection.
type simSession struct {
	server  *simServer
	pulse   string
	deaf    bool
	life    int // the database's, when it began
	arrived [][2]string
	broken  bool
	closed  bool // by the listener
}

var (
	errRefused = &pgconn.PgError{Code: "57P03", Message: "the database system is starting up"}
	errDenied  = &pgconn.PgError{Code: "42501", Message: "permission denied"}
	errStopped = errors.New("the simulation is over")
)

// next prefers what has arrived to the connection's end, and that to its context's.
func (s *simSession) next(ctx context.Context) (channel, payload string, err error) {
	deadline, _ := ctx.Deadline()
	s.server.turns.await(deadline, func() bool { return len(s.arrived) > 0 || s.broken || ctx.Err() != nil })
	switch {
	case len(s.arrived) > 0:
		n := s.arrived[0]
		s.arrived = s.arrived[1:]
		if n[0] == Channel {
			s.server.heard = append(s.server.heard, n[1])
		}
		return n[0], n[1], nil
	case s.broken:
		return "", "", errBroken
	}
	<-ctx.Done()
	return "", "", ctx.Err()
}

func (s *simSession) ping(context.Context) error {
	return s.server.ask(&simCall{kind: callPing, session: s}).err
}

func (s *simSession) close() { s.broken, s.closed = true, true }

func (s *simSession) fail() { s.broken = true }

func (s *simSession) deliver(channel, payload string) {
	if !s.deaf && !s.broken {
		s.arrived = append(s.arrived, [2]string{channel, payload})
	}
}
