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

const (
	// A session that lasted so long resets the reconnect delay.
	healthySpell = 30 * time.Second
	minReconnect = 50 * time.Millisecond
	maxReconnect = 10 * time.Second
)

var (
	// errDeaf: LISTEN was accepted, the connection works, and nothing is heard.
	errDeaf = errors.New("the LISTEN connection does not hear what is sent to it: it may go through a pooler " +
		"in transaction mode or to another database; set Config.ListenConnString to a direct connection")
	// errSilent: a session that did hear hears nothing any more.
	errSilent = errors.New("the LISTEN connection went silent")
	// errUnproved: nothing could be sent to a session, which says nothing about it.
	errUnproved = errors.New("cannot send a notification to the LISTEN connection")
)

// A session is a connection that listens. next returns the next notification; when ctx ends first
// the session stays usable.
type session interface {
	next(ctx context.Context) (channel, payload string, err error)
	ping(ctx context.Context) error
	close()
}

// A receiver keeps one session and hands what it hears to the waits.
type receiver struct {
	waits *waitSet
	// listen connects and listens on both channels. notify sends on another connection, because a
	// pooler would route it to a session that did hear it by chance.
	listen func(ctx context.Context, channels ...string) (session, error)
	notify func(ctx context.Context, channel, payload string) error
	// A session that has heard nothing for the length of a heartbeat has half of that to hear a pulse.
	heartbeat time.Duration
	// pause makes a reconnect delay random. A simulation replays it.
	pause  func(mean time.Duration) time.Duration
	rest   rest
	ready  func() // called when a session was first heard
	once   sync.Once
	status *status
	log    *slog.Logger
	trace  Trace
}

// run keeps a session until ctx ends.
func (r *receiver) run(ctx context.Context) {
	delay := minReconnect
	for ctx.Err() == nil {
		connected, err := r.session(ctx)
		if ctx.Err() != nil {
			return
		}
		// The server may have crashed, and a session that was lost before it was proved may have heard
		// something too.
		r.waits.hearing(false)
		if !connected.IsZero() {
			r.waits.recheck()
			if time.Since(connected) >= healthySpell {
				delay = minReconnect
			}
		}
		pause := r.pause(delay)
		r.lost(err, !connected.IsZero(), pause)
		r.rest.sleep(ctx, pause)
		delay = min(2*delay, maxReconnect)
	}
}

// session connects, proves that it hears, and receives until something fails. It returns since when
// it heard, or zero.
func (r *receiver) session(ctx context.Context) (connected time.Time, err error) {
	pulse := fmt.Sprintf("pgbarrier_pulse_%016x", rand.Uint64())
	s, err := r.listen(ctx, Channel, pulse)
	if err != nil {
		return connected, err
	}
	defer s.close()
	if err := r.prove(ctx, s, pulse); err != nil {
		return connected, err
	}
	connected = time.Now()
	r.found()
	for {
		// Announcements prove as well that the session hears: a busy one needs no pulse.
		heard, err := r.receive(ctx, s, r.heartbeat, "", "")
		if err != nil {
			return connected, err
		}
		if heard {
			continue
		}
		switch err := r.prove(ctx, s, pulse); {
		case errors.Is(err, errUnproved) && r.alive(ctx, s):
			// Kept: giving it up would gain nothing, as another could not be proved either.
		case errors.Is(err, errDeaf):
			return connected, errSilent
		case err != nil:
			return connected, err
		}
	}
}

// prove sends a pulse to the session and waits until it is heard.
func (r *receiver) prove(ctx context.Context, s session, pulse string) error {
	timeout := r.heartbeat / 2
	sending, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	payload := fmt.Sprintf("%016x", rand.Uint64())
	if err := r.notify(sending, pulse, payload); err != nil {
		return fmt.Errorf("%w: %w", errUnproved, err)
	}
	heard, err := r.receive(ctx, s, timeout, pulse, payload)
	if err == nil && !heard {
		err = errDeaf
	}
	return err
}

// alive tells whether the session's connection answers, whatever it hears.
func (r *receiver) alive(ctx context.Context, s session) bool {
	ctx, cancel := context.WithTimeout(ctx, r.heartbeat/2)
	defer cancel()
	return s.ping(ctx) == nil
}

// receive receives for the duration d, or until a pulse comes if one is named. It returns whether
// the pulse came, or without one whether anything came.
func (r *receiver) receive(ctx context.Context, s session, d time.Duration, pulse, want string) (heard bool, err error) {
	until, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		channel, payload, err := s.next(until)
		switch {
		case err != nil && until.Err() != nil && ctx.Err() == nil:
			return heard, nil
		case err != nil:
			return false, err
		case channel == Channel:
			_ = r.waits.hear(payload) // counted there
			heard = pulse == ""
		case channel == pulse && payload == want:
			return true, nil
		}
	}
}

func (r *receiver) found() {
	// Everything pending is checked now that LISTEN has committed: a commit before was missed.
	r.waits.hearing(true)
	r.waits.recheck()
	r.status.connected()
	r.once.Do(r.ready)
	r.log.Info("pgbarrier: listening")
	if r.trace.Connected != nil {
		r.trace.Connected()
	}
}

func (r *receiver) lost(err error, wasConnected bool, pause time.Duration) {
	level := slog.LevelWarn
	if errors.Is(err, errDeaf) {
		level = slog.LevelError
	}
	r.status.disconnected(err)
	r.log.Log(context.Background(), level, "pgbarrier: not listening, waits end by checks", "error", err, "retry_in", pause)
	if wasConnected && r.trace.Disconnected != nil {
		r.trace.Disconnected(err)
	}
}

// around returns a random pause: processes that lost the same server do not return to it at once.
func around(mean time.Duration) time.Duration { return mean/2 + rand.N(mean) }
