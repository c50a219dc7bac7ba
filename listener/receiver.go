package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Channel is the notification channel of all announcements. Payloads are tokens.
const Channel = "pgbarrier"

// probeChannel is that of all probes. Payloads are random.
const probeChannel = "pgbarrier_probe"

const (
	// A session that lasted so long resets the reconnect delay.
	healthySpell = 30 * time.Second
	minReconnect = 50 * time.Millisecond
	maxReconnect = 10 * time.Second
)

// A receiver keeps one session and hands what it hears to the waits. A loop, see listen, owns the
// connection and calls await, connect, listens, hear and lose, in this order and from one goroutine.
// Another goroutine, watch, probes the session, and ends it when it does not hear.
type receiver struct {
	waits *waitSet
	// probe sends a probe on a connection of its own, and holder names who holds up all notifications.
	probe  func(ctx context.Context, payload string) error
	holder func(ctx context.Context) (string, error)
	// A session that has heard nothing for the length of a heartbeat has half of that to hear a probe.
	heartbeat time.Duration
	random    func(n time.Duration) time.Duration // in [0, n)
	pause     pause
	ready     func() // called when a session was first heard
	once      sync.Once
	status    *status
	log       *slog.Logger
	trace     Trace

	changed chan struct{} // there may be something to do for watch. Capacity 1.

	mu        sync.Mutex // guards all below, and the session
	session   *session   // nil: none
	delay     time.Duration
	notBefore time.Time // when the next session may connect
}

func newReceiver(waits *waitSet, config Config, status *status) *receiver {
	return &receiver{
		waits:     waits,
		heartbeat: config.Heartbeat,
		random:    random,
		pause:     untilReady,
		status:    status,
		log:       config.Logger,
		trace:     config.Trace,
		changed:   make(chan struct{}, 1),
		delay:     minReconnect,
	}
}

// await returns when a session may be opened, or ctx ends.
func (r *receiver) await(ctx context.Context) {
	for ctx.Err() == nil {
		r.mu.Lock()
		until := r.notBefore
		r.mu.Unlock()
		if !time.Now().Before(until) {
			return
		}
		r.pause(ctx, until, nil)
	}
}

// connect: a connection is there, and end makes the loop give it up.
func (r *receiver) connect(end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.session = &session{end: end, connected: now}
	if now.Before(r.notBefore) { // room was needed meanwhile
		r.session.reason = errGivenBack
		end()
	}
	signal(r.changed)
}

// listens: LISTEN has committed on all channels. What commits from now on is heard.
func (r *receiver) listens() {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.session
	s.listens = time.Now()
	s.nextProbe = s.listens
	s.draw(r.heartbeat, r.random)
	signal(r.changed)
}

// hear takes a notification. It reports whether the session is proved to hear by it for the first time.
func (r *receiver) hear(channel, payload string) (proved bool) {
	r.mu.Lock()
	s := r.session
	proved = s.hears(channel == probeChannel, payload, time.Now())
	if channel == probeChannel {
		s.draw(r.heartbeat, r.random)
	}
	r.mu.Unlock()

	if proved {
		r.found()
	}
	if channel == Channel {
		_ = r.waits.hear(payload) // counted there
	}
	return proved
}

// found: the session hears, and would end if the server crashed.
func (r *receiver) found() {
	// Everything pending is checked now that LISTEN has committed: a commit before was missed.
	r.waits.setListening(true)
	r.waits.recheck()
	r.status.connected()
	r.once.Do(r.ready)
	r.log.Info("pgbarrier: listening")
	if r.trace.Connected != nil {
		r.trace.Connected()
	}
}

// lose: the session, or the attempt to open one, has failed. The connection is closed.
func (r *receiver) lose(ctx context.Context, err error) {
	r.mu.Lock()
	s := r.session
	r.session = nil
	if s == nil {
		s = new(session)
	}
	if s.reason != nil {
		err = s.reason
	}
	proved := !s.proved.IsZero()
	if proved && time.Since(s.proved) >= healthySpell {
		r.delay = minReconnect
	}
	pause := jitter(r.delay, r.random)
	r.delay = min(2*r.delay, maxReconnect)
	r.notBefore = later(r.notBefore, time.Now().Add(pause))
	r.mu.Unlock()
	if ctx.Err() != nil {
		return
	}

	// The server may have crashed, and a session that was lost before it was proved may have heard
	// something too.
	r.waits.setListening(false)
	if proved {
		r.waits.recheck()
	}
	level := slog.LevelWarn
	if errors.Is(err, errDeaf) {
		level = slog.LevelError
	}
	r.status.disconnected(err)
	r.log.Log(context.Background(), level, "pgbarrier: not listening, waits end by checks", "error", err, "retry_in", pause)
	if proved && r.trace.Disconnected != nil {
		r.trace.Disconnected(err)
	}
}

// giveBack ends the session, and opens none for a while: the check connection needs its place, without
// which no wait might end.
func (r *receiver) giveBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notBefore = later(r.notBefore, time.Now().Add(jitter(maxReconnect, r.random)))
	if s := r.session; s != nil {
		r.replace(s, errGivenBack)
	}
}

// replace ends the session because of reason. The caller holds mu.
func (r *receiver) replace(s *session, reason error) {
	if s.reason == nil {
		s.reason = reason
		s.end()
	}
}

// watch does what has to be done about the session, until ctx ends.
func (r *receiver) watch(ctx context.Context) {
	for ctx.Err() == nil {
		r.mu.Lock()
		s := r.session
		do, at, reason := stepNone, time.Time{}, error(nil)
		if s != nil {
			do, at, reason = s.next(r.heartbeat)
		}
		due := do != stepNone && !time.Now().Before(at)
		if due && do == stepReplace {
			r.replace(s, reason)
		}
		r.mu.Unlock()

		switch {
		case !due:
			r.pause(ctx, at, r.changed)
		case do == stepProbe:
			r.sendProbe(ctx, s)
		}
	}
}

// sendProbe sends a probe for the session. What became of the session meanwhile is for watch to see.
func (r *receiver) sendProbe(ctx context.Context, s *session) {
	payload := fmt.Sprintf("%016x", rand.Uint64())
	r.mu.Lock()
	begun := time.Now()
	s.payload = payload
	r.mu.Unlock()

	limited, cancel := context.WithTimeout(ctx, r.heartbeat/2)
	err := r.probe(limited, payload)
	cancel()
	kept := err == nil || r.excused(ctx, err)
	if ctx.Err() != nil {
		return
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !s.heardAt.Before(begun): // that, or something else
	case err == nil:
		s.probedAt = begun
	case kept:
		s.nextProbe = time.Now().Add(r.heartbeat / 2)
	default:
		r.replace(s, fmt.Errorf("%w: %w", errNoProbe, err))
	}
}

// excused reports whether that a probe could not be sent says nothing about the session, and to replace it
// would not help: there is no room for the connection that sends it, or the lock of NOTIFY is held.
func (r *receiver) excused(ctx context.Context, err error) bool {
	if errors.Is(err, errNoRoom) {
		r.log.Warn("pgbarrier: no room to probe the LISTEN connection, it is kept", "error", err)
		return true
	}
	if !errors.Is(err, errNotSent) {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, r.heartbeat/2)
	defer cancel()
	holder, asked := r.holder(limited)
	if asked != nil || holder == "" {
		return false
	}
	r.log.Warn("pgbarrier: notifications are held up: a COMMIT holds the lock that NOTIFY takes, waits end by checks",
		"lock", "object 0 of class pg_database, database 0", "holder", holder)
	return true
}
