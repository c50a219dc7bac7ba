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

	"github.com/pgbarrier/pgbarrier"
)

// A model stands in for the database where only the timing of our own loops is tested. What
// PostgreSQL decides is tested against PostgreSQL, in integration_test.
type model struct {
	mu       sync.Mutex
	statuses map[pgbarrier.Token]pgbarrier.Status // absent: pending
	down     error                                // judge and listen fail with it
	deaf     bool                                 // sessions hear nothing
	asked    [][]pgbarrier.Token                  // of each statement
	over     []uint64                             // transactions below 100 that have ended
	watchErr error                                // watch fails with it
	watches  int
	pulses   int // notifications that are no announcements
	sessions []*modelSession
}

func newModel() *model { return &model{statuses: make(map[pgbarrier.Token]pgbarrier.Status)} }

func (m *model) set(t pgbarrier.Token, s pgbarrier.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.statuses[t] = s
}

func (m *model) setDown(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

func (m *model) setDeaf(deaf bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deaf = deaf
}

func (m *model) statements() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.asked)
}

func (m *model) judge(_ context.Context, tokens []pgbarrier.Token) (pgbarrier.Judgement, error) {
	m.mu.Lock()
	m.asked = append(m.asked, tokens)
	m.mu.Unlock()
	return m.answer(tokens)
}

func (m *model) answer(tokens []pgbarrier.Token) (pgbarrier.Judgement, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return pgbarrier.Judgement{}, m.down
	}
	j := pgbarrier.Judgement{Snapshot: below100(m.over)}
	for _, t := range tokens {
		j.Statuses = append(j.Statuses, m.statuses[t])
	}
	return j, nil
}

// watch looks every pause, as pgbarrier.watch does.
func (m *model) watch(ctx context.Context, tokens []pgbarrier.Token, xids []uint64, patience, pause time.Duration) (pgbarrier.Judgement, error) {
	for begun := time.Now(); ; sleep(ctx, pause) {
		m.mu.Lock()
		m.watches++
		err := m.watchErr
		m.mu.Unlock()
		if err != nil {
			return pgbarrier.Judgement{}, err
		}
		j, err := m.answer(tokens)
		if err != nil || slices.ContainsFunc(j.Statuses, func(s pgbarrier.Status) bool { return s != pgbarrier.Pending }) ||
			slices.ContainsFunc(xids, j.Snapshot.Ended) || time.Since(begun) >= patience || ctx.Err() != nil {
			return j, err
		}
	}
}

func (m *model) looks() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.watches
}

func (m *model) end(xid uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = append(m.over, xid)
}

// below100 is a snapshot that shows the transactions below 100 as running, except those that are over.
func below100(over []uint64) pgbarrier.Snapshot {
	running := slices.DeleteFunc(upTo(100), func(xid uint64) bool { return slices.Contains(over, xid) })
	snapshot, err := pgbarrier.ParseSnapshot("1:100:" + join(running))
	if err != nil {
		panic(err)
	}
	return snapshot
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
func (m *model) notify(_ context.Context, channel, payload string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return m.down
	}
	if channel != Channel {
		m.pulses++
	}
	for _, s := range m.sessions {
		if !m.deaf {
			s.queue <- [2]string{channel, payload}
		}
	}
	return nil
}

func (m *model) listen(_ context.Context, channels ...string) (session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return nil, m.down
	}
	s := &modelSession{model: m, channels: channels, queue: make(chan [2]string, 1000), broken: make(chan struct{})}
	m.sessions = append(m.sessions, s)
	return s, nil
}

// breakSessions closes the connections as the server would.
func (m *model) breakSessions() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		close(s.broken)
	}
	m.sessions = nil
}

type modelSession struct {
	model    *model
	channels []string
	queue    chan [2]string
	broken   chan struct{}
}

var errBroken = errors.New("connection reset")

func (s *modelSession) next(ctx context.Context) (string, string, error) {
	select {
	case n := <-s.queue:
		return n[0], n[1], nil
	case <-s.broken:
		return "", "", errBroken
	case <-ctx.Done():
		return "", "", ctx.Err()
	}
}

func (s *modelSession) ping(context.Context) error { return nil }

func (s *modelSession) close() {
	s.model.mu.Lock()
	defer s.model.mu.Unlock()
	for i, other := range s.model.sessions {
		if other == s {
			s.model.sessions = append(s.model.sessions[:i], s.model.sessions[i+1:]...)
			return
		}
	}
}

var discard = slog.New(slog.DiscardHandler)

// start runs a checker and, unless pollOnly, a receiver and a watcher on the model until the test ends. In a
// synctest bubble that also proves that both return and leave no goroutine.
func start(t *testing.T, m *model, config Config) (*waitSet, *status) {
	t.Helper()
	config, _, err := config.complete()
	if err != nil {
		t.Fatal(err)
	}
	waits, status := newWaitSet(config.Trace.Resolved), new(status)
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		tasks.Wait()
		waits.close(pgbarrier.ErrClosed)
	})
	c := &checker{waits: waits, judge: m.judge, pace: pace{config.MinDelay, config.MaxDelay}, rest: untilReady,
		status: status, log: discard, trace: config.Trace.Checked}
	tasks.Go(func() { c.run(ctx) })
	if !config.PollOnly {
		r := &receiver{waits: waits, listen: m.listen, notify: m.notify, heartbeat: config.Heartbeat,
			pause: around, rest: untilReady, ready: func() {}, status: status, log: discard, trace: config.Trace}
		w := &watcher{waits: waits, watch: m.watch, pace: c.pace, rest: untilReady, log: discard}
		tasks.Go(func() { r.run(ctx) })
		tasks.Go(func() { w.run(ctx) })
	}
	return waits, status
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

func ended(sub *Subscription) bool {
	select {
	case <-sub.Done():
		return true
	default:
		return false
	}
}
