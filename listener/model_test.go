package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/dial"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// A model stands in for the database where only the timing of our own loops is tested. What
// PostgreSQL decides is tested against PostgreSQL, in integration_test.
type model struct {
	mu       sync.Mutex
	statuses map[pgbarrier.Token]pgbarrier.Status // absent: pending
	down     error                                // ask, probe and connect fail with it
	probeErr error                                // probe fails with it
	holder   string                               // of the lock of NOTIFY
	deaf     bool                                 // sessions hear nothing
	asked    [][]pgbarrier.Token                  // of each statement
	over     []uint64                             // transactions below 100 that have ended
	probes   int
	sessions []*modelSession
	connects []time.Time // attempts
	held     bool        // the announcing lock
	places   int         // if not 0, a session must be given back for checks to have room
}

func newModel() *model { return &model{statuses: make(map[pgbarrier.Token]pgbarrier.Status)} }

func (m *model) set(t pgbarrier.Token, s pgbarrier.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.statuses[t] = s
	if s == pgbarrier.Committed || s == pgbarrier.Aborted {
		m.over = append(m.over, t.XID)
	}
}

// change changes the model's fields.
func (m *model) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *model) setDown(err error) { m.change(func() { m.down = err }) }

func (m *model) setDeaf(deaf bool) { m.change(func() { m.deaf = deaf }) }

func (m *model) statements() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.asked)
}

func (m *model) ask(_ context.Context, tokens []pgbarrier.Token) (wire.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, slices.Clone(tokens))
	if m.down != nil {
		return wire.Answer{}, m.down
	}
	if m.places > 0 && len(m.sessions) >= m.places {
		return wire.Answer{}, dial.ErrNoRoom
	}
	a := wire.Answer{Origin: 1, Snapshot: below100(m.over)}
	for _, t := range tokens {
		a.Outcomes = append(a.Outcomes, wire.Outcome(m.statuses[t]))
	}
	return a, nil
}

func (m *model) count(context.Context) (int, error) { return 10, nil }

func (m *model) hold(context.Context) bool {
	m.change(func() { m.held = true })
	return true
}

func (m *model) release(context.Context) { m.change(func() { m.held = false }) }

// below100 is a snapshot that shows the transactions below 100 as running, except those that are over.
func below100(over []uint64) wire.Snapshot {
	running := slices.DeleteFunc(upTo(100), func(xid uint64) bool { return slices.Contains(over, xid) })
	return snapshot("1:100:" + join(running))
}

func snapshot(text string) wire.Snapshot {
	s, err := wire.ParseSnapshot(text)
	if err != nil {
		panic(err)
	}
	return s
}

func join(xids []uint64) string {
	s := ""
	for i, xid := range xids {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprint(xid)
	}
	return s
}

// notify sends to every session that listens, as PostgreSQL does.
func (m *model) notify(channel, payload string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		if !m.deaf {
			s.queue <- [2]string{channel, payload}
		}
	}
}

func (m *model) probe(ctx context.Context, payload string) error {
	m.mu.Lock()
	err := m.down
	if m.probeErr != nil {
		err = m.probeErr
	}
	m.probes++
	m.mu.Unlock()
	if errors.Is(err, errNotSent) {
		<-ctx.Done()
	}
	if err == nil {
		m.notify(probeChannel, payload)
	}
	return err
}

func (m *model) notifyHolder(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.holder, m.down
}

// listen is the loop of pgxlisten.
func (m *model) listen(ctx context.Context, r *receiver) {
	for ctx.Err() == nil {
		s := &modelSession{queue: make(chan [2]string, 1000), broken: make(chan error, 1)}
		m.mu.Lock()
		m.connects = append(m.connects, time.Now())
		err := m.down
		if err == nil {
			m.sessions = append(m.sessions, s)
		}
		m.mu.Unlock()
		if err == nil {
			r.connected(func() { s.fail(errEnded) }, func() {})
			_, _ = r.HandleBacklog(ctx, Channel, nil), r.HandleBacklog(ctx, probeChannel, nil)
			err = s.receive(ctx, r)
			m.change(func() {
				m.sessions = slices.DeleteFunc(m.sessions, func(other *modelSession) bool { return other == s })
			})
		}
		r.failed(ctx, fmt.Errorf("loop: %w", err))
	}
}

// breakSessions closes the connections as the server would.
func (m *model) breakSessions() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		s.fail(errBroken)
	}
	m.sessions = nil
}

type modelSession struct {
	queue  chan [2]string
	broken chan error
}

var (
	errBroken = errors.New("connection reset")
	errEnded  = errors.New("i/o timeout")
)

func (s *modelSession) fail(err error) {
	select {
	case s.broken <- err:
	default:
	}
}

func (s *modelSession) receive(ctx context.Context, r *receiver) error {
	for {
		select {
		case n := <-s.queue:
			_ = r.HandleNotification(ctx, &pgconn.Notification{Channel: n[0], Payload: n[1]}, nil)
		case err := <-s.broken:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var discard = slog.New(slog.DiscardHandler)

// start runs a checker and, unless pollOnly, a receiver on the model until the test ends. In a synctest
// bubble that also proves that both return and leave no goroutine.
func start(t *testing.T, m *model, config Config) *waitSet {
	t.Helper()
	config, _, err := config.complete() // its Logger is silent
	if err != nil {
		t.Fatal(err)
	}
	waits := newWaitSet(config.Trace.Resolved)
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		tasks.Wait()
		waits.close(pgbarrier.ErrClosed, nil)
	})
	c := newChecker(waits, config, m)
	c.ask, c.count, c.few, c.cut = m.ask, m.count, 64, 50
	if !config.PollOnly {
		r := newReceiver(waits, config)
		r.probe, r.holder, r.ready = m.probe, m.notifyHolder, func() {}
		c.makeRoom = r.giveBack
		tasks.Go(func() { m.listen(ctx, r) })
		tasks.Go(func() { r.watch(ctx) })
	}
	tasks.Go(func() { c.run(ctx) })
	return waits
}

// token returns a token that no other call returns, of a running transaction if xid is below 100.
func token(t testing.TB, xid uint64) pgbarrier.Token {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return pgbarrier.Token{ID: id, XID: xid, Origin: 1}
}

func subscribe(s *waitSet, tokens []pgbarrier.Token) *Subscription {
	sub := &Subscription{done: make(chan struct{})}
	s.subscribe(sub, tokens)
	return sub
}

// listening is what the receiver does when it has found or lost a session.
func listening(s *waitSet, yes bool) {
	s.note(func(s *stats) { s.Connected = yes })
	s.recheck()
}

func numbers(s *waitSet) stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// hear lets the waits hear an announcement.
func hear(s *waitSet, t pgbarrier.Token) { _ = s.hear(t.String()) }

// found is what one statement has found.
func found(statuses ...pgbarrier.Status) wire.Answer {
	a := wire.Answer{Origin: 1, Snapshot: snapshot("1000:1000:")}
	for _, s := range statuses {
		a.Outcomes = append(a.Outcomes, wire.Outcome(s))
	}
	return a
}

func ended(sub *Subscription) bool {
	select {
	case <-sub.Done():
		return true
	default:
		return false
	}
}
