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
	changed   chan struct{} // there may be something to do for watch. Capacity 1.

	mu        sync.Mutex // guards all below, and the session
	session   *session   // nil: none
	delay     time.Duration
	notBefore time.Time // when the next session may connect
}

func newReceiver(waits *waitSet, config Config, status *status, ready func()) *receiver {
	return &receiver{
		waits:     waits,
		heartbeat: config.Heartbeat,
		random:    rand.N[time.Duration],
		pause:     untilReady,
		ready:     ready,
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
		r.session.replace(errGivenBack)
	}
	signal(r.changed)
}

// listens: LISTEN has committed on all channels. What commits from now on is heard.
func (r *receiver) listens() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session.listens = time.Now()
	r.session.nextProbe = r.session.listens
	signal(r.changed)
}

// hear takes a notification. It reports whether it is the first that proves that the session hears.
func (r *receiver) hear(channel, payload string) (first bool) {
	// Every probe is heard by all sessions of the database: the first to be impatient spares the others theirs.
	now := time.Now()
	until := now.Add(r.heartbeat*3/4 + r.random(max(r.heartbeat/4, 1)))
	r.mu.Lock()
	first = r.session.hears(payload, now, until)
	r.mu.Unlock()

	if first { // and would end if the server crashed
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
	if channel == Channel {
		_ = r.waits.hear(payload) // counted there
	}
	return first
}

// lose: the session, or the attempt to open one, has failed. The connection is closed.
func (r *receiver) lose(ctx context.Context, err error) {
	r.mu.Lock()
	var proved time.Time
	if s := r.session; s != nil {
		proved = s.proved
		if s.reason != nil {
			err = s.reason
		}
	}
	r.session = nil
	if !proved.IsZero() && time.Since(proved) >= healthySpell {
		r.delay = minReconnect
	}
	r.notBefore = later(r.notBefore, time.Now().Add(r.jitter(r.delay)))
	pause := time.Until(r.notBefore)
	r.delay = min(2*r.delay, maxReconnect)
	r.mu.Unlock()
	if ctx.Err() != nil {
		return
	}

	r.waits.setListening(false)
	if !proved.IsZero() {
		r.waits.recheck() // the server may have crashed
	}
	level := slog.LevelWarn
	if errors.Is(err, errDeaf) {
		level = slog.LevelError
	}
	r.status.disconnected(err)
	r.log.Log(context.Background(), level, "pgbarrier: not listening, waits end by checks", "error", err, "retry_in", pause)
	if !proved.IsZero() && r.trace.Disconnected != nil {
		r.trace.Disconnected(err)
	}
}

// giveBack ends the session, and opens none for a while: the check connection needs its place, without
// which no wait might end.
func (r *receiver) giveBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notBefore = later(r.notBefore, time.Now().Add(r.jitter(maxReconnect)))
	if r.session != nil {
		r.session.replace(errGivenBack)
	}
}

// jitter returns a random pause: processes that lost the same server do not return to it at once.
func (r *receiver) jitter(mean time.Duration) time.Duration { return mean/2 + r.random(mean) }

// watch does what has to be done about the session, until ctx ends.
func (r *receiver) watch(ctx context.Context) {
	for ctx.Err() == nil {
		r.mu.Lock()
		s := r.session
		at, reason := s.next(r.heartbeat)
		due := !at.IsZero() && !time.Now().Before(at)
		if due && reason != nil {
			s.replace(reason)
		}
		r.mu.Unlock()

		if !due {
			r.pause(ctx, at, r.changed)
		} else if reason == nil {
			r.sendProbe(ctx, s)
		}
	}
}

// sendProbe sends a probe for the session.
func (r *receiver) sendProbe(ctx context.Context, s *session) {
	begun := time.Now()
	payload := fmt.Sprintf("%016x", rand.Uint64())
	r.mu.Lock()
	s.payload = payload
	r.mu.Unlock()

	limited, cancel := context.WithTimeout(ctx, r.heartbeat/2)
	err := r.probe(limited, payload)
	cancel()
	excuse := r.excuse(ctx, err)

	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case !s.heardAt.Before(begun): // that, or something else
	case excuse != "":
		if s.excuse != excuse {
			r.log.Warn("pgbarrier: the LISTEN connection cannot be probed: "+excuse, "error", err)
		}
		s.excuse, s.nextProbe = excuse, time.Now().Add(r.heartbeat/2)
	case err != nil:
		s.replace(fmt.Errorf("%w: %w", errNoProbe, err))
	default:
		s.probedAt = begun
	}
}

// excuse returns why it says nothing about the session that a probe could not be sent: no other could be
// probed either.
func (r *receiver) excuse(ctx context.Context, err error) string {
	if errors.Is(err, errNoRoom) {
		return "there is no room for the connection that sends probes"
	}
	if errors.Is(err, errNotSent) {
		limited, cancel := context.WithTimeout(ctx, r.heartbeat/2)
		defer cancel()
		if holder, err := r.holder(limited); err == nil && holder != "" {
			return "a COMMIT holds the lock of NOTIFY (object 0 of pg_database) and holds up all notifications: " + holder
		}
	}
	return ""
}
