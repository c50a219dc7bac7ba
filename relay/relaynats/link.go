package relaynats

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// A link is what a client has with the relays of one database. It has at most one session, at one relay, and at most
// one hello on its way to find another:
//
//	              something is waited for
//	no session ───────────────────────────▶ hello ── greeting ──▶ session ── moved, unwell ──▶ session, and hello
//	     ▲                                    │                      │                               │ greeting
//	     └── nobody, or none in time: pause ──┘                      │ nobody, gone, silence,        ▼
//	     ▲                                                           │ a gap in numbers,      another session
//	     └───────────────────────────────────────────────────────────┘ stale news, reconnected
//
// With each session all that is waited for is submitted again. All is guarded by the client's mu.
type link struct {
	client *Client
	origin uint32

	// Waits by id. A wait is in sent if the session has been asked for it.
	unsent, sent map[uint64]*wait
	cancels      []uint64  // that were in sent, to be told to the session
	cancelAt     time.Time // when, unless something else is sent before
	checks       map[uint64]*asking
	busyUntil    time.Time // what a limit has refused is not asked for before

	attempts uint64  // sessions and hellos that were begun; the last
	session  *joined // nil: none

	seeking    uint64    // the attempt of the hello; 0: none
	seekAt     time.Time // when to send one; zero: not wanted
	seekUntil  time.Time // when to give it up
	found      *greeting // that came
	second     *greeting // that came, from a relay that is better avoided
	mismatched string    // what a relay of another version has answered
	avoid      string    // the relay that was silent
	failures   int       // sessions and hellos that have failed since a relay answered
	restless   bool      // the session's relay is better left
	problem    string    // what the last attempt failed with
	unanswered time.Time // since when no relay has answered, with something to answer; zero: one has
	warned     bool
}

const (
	firstPause, longestPause = 20 * time.Millisecond, 2 * time.Second // between two hellos that find nobody
	secondPause              = 100 * time.Millisecond                 // for a better relay to answer
	cancelPause              = 20 * time.Millisecond                  // cancels are sent together
	unwellPause              = 10 * time.Second                       // between two looks for a relay whose database answers
	warnAfter                = 5 * time.Second
)

func randomUpTo(d time.Duration) time.Duration { return rand.N(d + 1) }

// jitter returns between half of d and d.
func jitter(d time.Duration) time.Duration { return d - randomUpTo(d/2) }

// wanted reports whether there is something that a relay owes an answer for.
func (l *link) wanted() bool { return len(l.unsent)+len(l.sent)+len(l.checks) > 0 }

// step appends what is due to out, and returns when to call it again at the latest; zero: when something has happened.
func (l *link) step(now time.Time, out *[]outgoing) time.Time {
	var due earliest
	if !l.wanted() {
		l.quit()
		l.seekAt, l.unanswered, l.warned = time.Time{}, time.Time{}, false
		if s := l.session; s != nil && len(l.cancels) > 0 && due.reached(now, l.cancelAt) {
			l.flush(now, out)
		}
		return due.at
	}
	if l.unanswered.IsZero() {
		l.unanswered = now
	}
	l.seek(now, &due, out)
	if s := l.session; s != nil {
		switch {
		case s.stale(now):
			l.join(now, greeting{relay: s.relay, lease: s.lease}, out)
		case s.pinged > 0 && due.reached(now, s.pingedAt.Add(l.patience())):
			l.avoid = s.relay
			l.lose(now, "the relay is silent")
			return now
		}
		l.work(now, &due, out)
	}
	l.warn(now, &due)
	return due.at
}

// earliest collects times and keeps the earliest that is still to come.
type earliest struct{ at time.Time }

// reached reports whether a time has come, and keeps it if not.
func (e *earliest) reached(now, at time.Time) bool {
	if !now.Before(at) {
		return true
	}
	if e.at.IsZero() || at.Before(e.at) {
		e.at = at
	}
	return false
}

// seek looks for a relay, if one is wanted.
func (l *link) seek(now time.Time, due *earliest, out *[]outgoing) {
	if l.seeking > 0 {
		if l.found == nil && !due.reached(now, l.seekUntil) {
			return
		}
		if g := cmp.Or(l.found, l.second); g != nil {
			l.join(now, *g, out)
			return
		}
		l.fail(now, cmp.Or(l.mismatched, "no relay answers"))
	}
	if l.session != nil && !l.restless {
		return
	}
	if l.seekAt.IsZero() {
		l.seekAt = now
	}
	if !due.reached(now, l.seekAt) {
		return
	}
	l.attempts++
	l.seeking, l.mismatched = l.attempts, ""
	l.seekUntil, l.seekAt = now.Add(l.patience()), time.Time{}
	due.reached(now, l.seekUntil)
	l.publish(out, helloSubject(l.origin), l.attempts, hello{version, version}.encode(kindHello))
}

// patience is for how long a relay may be silent. It grows with each that was, because a machine that is full is slow.
func (l *link) patience() time.Duration { return l.client.config.Silence << min(l.failures, 3) }

// fail ends a hello that nobody has answered well.
func (l *link) fail(now time.Time, problem string) {
	l.quit()
	l.pause(now)
	l.problem, l.avoid = problem, ""
	if l.session != nil && !l.session.draining {
		l.restless, l.seekAt = false, time.Time{} // until the relay says again that it is unwell
	}
}

// quit gives a hello up.
func (l *link) quit() { l.seeking, l.found, l.second = 0, nil, nil }

// pause puts the next hello off, longer each time, and not all clients at the same moment.
func (l *link) pause(now time.Time) {
	l.seekAt = now.Add(jitter(min(firstPause<<min(l.failures, 8), longestPause)))
	l.failures++
}

// lose ends the session, if there is one: all that it was asked for is to be submitted again.
func (l *link) lose(now time.Time, problem string) {
	l.quit()
	if !l.wanted() {
		l.reset() // it was idle for longer than its lease
		return
	}
	if l.session != nil {
		l.client.stats.Lost++
	}
	l.reset()
	l.problem = problem
	l.pause(now)
	l.client.signal()
}

// reset forgets the session.
func (l *link) reset() {
	for id, w := range l.sent {
		l.unsent[id] = w
	}
	clear(l.sent)
	for _, a := range l.checks {
		a.due = time.Time{}
	}
	l.cancels, l.session, l.restless, l.busyUntil = nil, nil, false, time.Time{}
}

// unsendable is called when a message could not be published. Run begins again when the connection is back.
func (l *link) unsendable(now time.Time) { l.lose(now, errDisconnected.Error()) }

// join begins a session at a relay, and takes leave of the one before.
func (l *link) join(now time.Time, g greeting, out *[]outgoing) {
	l.bye(out)
	l.client.stats.Resubmitted += uint64(len(l.sent))
	l.reset()
	l.seekAt = time.Time{}
	attempt := l.seeking
	if attempt == 0 { // at the same relay
		l.attempts++
		attempt = l.attempts
	}
	l.quit()
	l.avoid = ""
	ping := l.client.config.Ping
	l.session = &joined{attempt: attempt, relay: g.relay, lease: g.lease, ping: ping + randomUpTo(ping/4), provenAt: now}
	l.client.stats.Sessions++
	l.client.signal()
}

func (l *link) bye(out *[]outgoing) {
	if s := l.session; s != nil && s.number > 0 {
		l.publish(out, relaySubjects+s.relay, s.attempt, start(version, kindBye))
	}
}

func (l *link) publish(out *[]outgoing, subject string, attempt uint64, data []byte) {
	*out = append(*out, outgoing{l, subject, inboxSubject(l.client.inbox, l.origin, attempt), data})
}

// warn logs, once, that no relay answers.
func (l *link) warn(now time.Time, due *earliest) {
	if l.warned || !due.reached(now, l.unanswered.Add(warnAfter)) {
		return
	}
	l.warned = true
	l.client.config.Logger.Warn("pgbarrier: no relay answers, waits go on until one does", "origin", formatOrigin(l.origin),
		"waits", len(l.unsent)+len(l.sent), "problem", l.problem, "nats", l.client.bus.lastError())
}

// answered is called when a relay has shown that it is there, and its database too.
func (l *link) answered() {
	if l.warned {
		l.client.config.Logger.Info("pgbarrier: a relay answers again", "origin", formatOrigin(l.origin))
	}
	l.failures, l.problem, l.unanswered, l.warned = 0, "", time.Time{}, false
}
