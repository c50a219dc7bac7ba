package listener

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// A simServer stands between the listener and the simDatabase: connections, statements that take
// time, and all that goes wrong with them. The listener's goroutines hand it calls and stop; only
// the simulation's goroutine decides what becomes of a call, and when.
type simServer struct {
	*simulation
	db       *simDatabase
	up       bool
	crowded  bool    // others have taken all places but one
	faulty   float64 // share of statements that go wrong
	lossy    float64 // share of notifications that are lost, or come twice
	backends int     // sessions on the server, as counted
	sessions []*simSession
	newest   *simSession // the listener's last
	checks   simConn
	calls    []*simCall // that were just made
}

// A simConn is what a checkConn keeps: one statement at a time.
type simConn struct {
	life  int // the database's, in which it was opened; 0: none; -1: broken
	busy  *simCall
	queue []*simCall
	used  time.Time // when it was last, see simServer.idles
	begun time.Time // the transaction of hold; zero: none
}

// latency bounds each half of a statement, before and after its snapshot, when nothing is wrong.
const latency = 500 * time.Microsecond

type callKind uint8

const (
	// On the check connection.
	callCheck callKind = iota
	callCount
	callHold
	callRelease
	callHolder
	// Each on a connection of its own.
	callProbe
	callConnect
	callListen
)

func (k callKind) String() string {
	return [...]string{"check", "count", "hold", "release", "holder", "probe", "connect", "listen"}[k]
}

type simCall struct {
	kind      callKind
	check     uint64 // callCheck: the check's number
	tokens    []pgbarrier.Token
	payload   string      // callProbe
	session   *simSession // callListen
	deadline  time.Time   // of its context; zero: none
	reused    bool        // it runs on a connection that was open
	answering bool        // its snapshot has been taken
	attempt   int
	answered  bool
	reply     simReply
}

type simReply struct {
	answer  wire.Answer
	session *simSession
	yes     bool // callHold: it is held; callHolder: there is one
	err     error
	life    int  // the database's that answered; 0: it did not
	lost    bool // the connection turned out to be closed: see checkConn.do
	again   bool // and there is a second attempt
}

// ends makes the connection one of that life.
func (c *simConn) ends(db *simDatabase, life int) {
	c.life, c.begun, db.shared = life, time.Time{}, false
}

func (c *simCall) answer(r simReply) {
	if !c.answered {
		c.reply, c.answered = r, true
	}
}

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

// do is checkConn.do.
func (s *simServer) do(c *simCall) simReply {
	for {
		r := s.ask(c)
		s.contact = max(s.contact, r.life)
		if r.lost {
			s.waits.recheck() // as New has it
			s.forgets()
		}
		if !r.again {
			return r
		}
	}
}

// check is checkConn.check.
func (s *simServer) check(_ context.Context, tokens []pgbarrier.Token) (wire.Answer, error) {
	r := s.do(&simCall{kind: callCheck, check: s.checker.number, tokens: slices.Clone(tokens)})
	s.answeredCheck(tokens, r)
	return r.answer, r.err
}

// countSessions is checkConn.countSessions.
func (s *simServer) countSessions(context.Context) (int, error) {
	if err := s.do(&simCall{kind: callCount}).err; err != nil {
		return 0, err
	}
	s.counted = s.backends
	return s.backends, nil
}

// hold is checkConn.hold.
func (s *simServer) hold(context.Context) bool {
	r := s.do(&simCall{kind: callHold})
	return r.err == nil && r.yes
}

// release is checkConn.release.
func (s *simServer) release(context.Context) {
	if !s.checks.begun.IsZero() {
		s.do(&simCall{kind: callRelease})
	}
}

// notifyHolder is checkConn.notifyHolder.
func (s *simServer) notifyHolder(ctx context.Context) (string, error) {
	deadline, _ := ctx.Deadline()
	r := s.do(&simCall{kind: callHolder, deadline: deadline})
	if r.err != nil || !r.yes {
		return "", r.err
	}
	return "pid 1", nil
}

// sendProbe is Listener.sendProbe.
func (s *simServer) sendProbe(ctx context.Context, payload string) error {
	deadline, _ := ctx.Deadline()
	return s.ask(&simCall{kind: callProbe, payload: payload, deadline: deadline}).err
}

// listen is the loop of pgxlisten.
func (s *simServer) listen(ctx context.Context, r *receiver) {
	for ctx.Err() == nil {
		connected := s.ask(&simCall{kind: callConnect})
		session, err := connected.session, connected.err
		if err == nil {
			r.connected(session.fail, session.close)
			if err = s.ask(&simCall{kind: callListen, session: session}).err; err == nil {
				_, _ = r.HandleBacklog(ctx, Channel, nil), r.HandleBacklog(ctx, probeChannel, nil)
				err = session.receive(ctx, r)
			}
		}
		r.failed(ctx, fmt.Errorf("loop: %w", err))
	}
}

// A simSession is a LISTEN connection.
type simSession struct {
	server  *simServer
	deaf    bool
	deafAt  time.Time // since when
	listens bool

	listensAt time.Time // since when
	life      int       // the database's, when it began
	arrived   [][2]string
	broken    bool
	closed    bool // by the listener
}

var (
	errRefused = &pgconn.PgError{Code: "57P03", Message: "the database system is starting up"}
	errFull    = &pgconn.PgError{Code: "53300", Message: "too many connections"}
	errStopped = errors.New("the simulation is over")
)

// receive hands over what arrives, until the session ends or ctx does.
func (s *simSession) receive(ctx context.Context, r *receiver) error {
	for {
		s.server.turns.await(time.Time{}, func() bool { return len(s.arrived) > 0 || s.broken || ctx.Err() != nil })
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case len(s.arrived) > 0:
			n := s.arrived[0]
			s.arrived = s.arrived[1:]
			_ = r.HandleNotification(ctx, &pgconn.Notification{Channel: n[0], Payload: n[1]}, nil)
			if n[0] == Channel {
				s.server.heard = append(s.server.heard, n[1])
			}
		default:
			return errBroken
		}
	}
}

func (s *simSession) fail() { s.broken = true }

func (s *simSession) close() { s.broken, s.closed = true, true }

func (s *simSession) deliver(channel, payload string) {
	if s.listens && !s.deaf && !s.broken {
		s.arrived = append(s.arrived, [2]string{channel, payload})
	}
}
