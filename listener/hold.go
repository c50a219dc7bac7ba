package listener

import (
	"context"
	"time"
)

// A busy checker needs no announcements, and they cost a tenth of the commits on a full machine. So while
// it is busy it holds the lock of pgbarrier.announce() in SHARE mode, for which producers only try: they
// commit unannounced then, as riders do. It holds it for a short while at a time, in a transaction of the
// check connection, and never waits for it.

const (
	// A checker is busy if it is so in busyChecks checks in a row: so many transactions are waited for
	// since a short time, or have ended in one check, or announcements a second times the sessions that
	// they may wake, beyond the first ones.
	busyChecks  = 4
	busyYoung   = 16
	busyEnded   = 8
	busyWakeups = 20_000
	wakeupsFrom = 32
	heldFor     = 100 * time.Millisecond
	holdGap     = 20 * time.Millisecond // until it may be held again, and their rate is known
	holdIdle    = 50 * time.Millisecond // it is not held through a longer pause
)

// A lock is the announcing lock, taken in SHARE mode on the check connection.
type lock interface {
	hold(ctx context.Context) (held bool)
	release(ctx context.Context)
}

// A load is what a check has found of how much there is to do.
type load struct {
	young, ended  int    // transactions
	announcements uint64 // heard so far
	sessions      int
}

// A hold decides when the lock is held. The zero hold never does.
type hold struct {
	lock lock

	since    time.Time // zero: not held
	released time.Time
	busy     int // checks in a row that were

	heard   uint64 // announcements, at the time
	heardAt time.Time
	rate    float64 // a second
}

// begin is called before a check.
func (h *hold) begin(ctx context.Context) {
	if h.lock == nil || !h.since.IsZero() || h.busy < busyChecks || time.Since(h.released) < holdGap {
		return
	}
	if h.lock.hold(ctx) {
		h.since = time.Now()
	} else {
		h.released = time.Now()
	}
}

// checked is called after one.
func (h *hold) checked(ctx context.Context, l load) {
	if h.lock == nil {
		return
	}
	h.measure(l.announcements)
	switch wakeups := h.rate * float64(l.sessions-wakeupsFrom); {
	case l.young >= busyYoung, l.ended >= busyEnded, wakeups > busyWakeups:
		h.busy++
	case h.since.IsZero():
		h.busy = 0
	}
	if !h.since.IsZero() && time.Since(h.since) >= heldFor {
		h.release(ctx)
	}
}

// idle is called when the next check is not due yet; zero: there is none.
func (h *hold) idle(ctx context.Context, due time.Time) {
	if !h.since.IsZero() && (due.IsZero() || time.Until(due) > holdIdle) {
		h.release(ctx)
		h.busy = 0
	}
}

func (h *hold) release(ctx context.Context) {
	h.lock.release(ctx)
	h.since, h.released = time.Time{}, time.Now()
	h.rate, h.heardAt = 0, time.Time{} // none could be heard
	h.busy = busyChecks - 1            // one more check shows whether it still is
}

// measure takes the rate of announcements, which are not heard while the lock is held.
func (h *hold) measure(announcements uint64) {
	now := time.Now()
	switch {
	case !h.since.IsZero():
		return
	case h.heardAt.IsZero():
	case now.Sub(h.heardAt) < holdGap:
		return
	default:
		h.rate = float64(announcements-h.heard) / now.Sub(h.heardAt).Seconds()
	}
	h.heard, h.heardAt = announcements, now
}
