package listener

import (
	"context"
	"time"
)

// A busy checker needs no announcements, and they cost a tenth of the commits on a full machine. While it is
// busy it holds the lock of pgbarrier.announce() in SHARE mode, for which producers only try: they commit
// unannounced then, as riders do. It holds it for a short while at a time and never waits for it.

const (
	// A checker is busy after busyChecks checks in a row of which each has left so many transactions pending
	// that are younger than busyAge, or has found the end of so many, or after which announcements came at such
	// a rate, times the sessions beyond the first ones, which they wake.
	busyChecks  = 4
	busyYoung   = 16
	busyAge     = 100 * time.Millisecond
	busyEnded   = 8
	busyWakeups = 20_000 // a second
	wakeupsFrom = 32     // sessions

	heldFor  = 100 * time.Millisecond
	holdGap  = 20 * time.Millisecond // until it may be held again
	holdIdle = 50 * time.Millisecond // it is not held through a longer pause
)

// A lock is the announcing lock, taken in SHARE mode on the check connection. To hold it may be tried again
// until it is released.
type lock interface {
	hold(ctx context.Context) (held bool)
	release(ctx context.Context)
}

// A hold decides when the lock is held. Without a lock it never is.
type hold struct {
	lock     lock
	since    time.Time // of the first attempt to hold it; zero: none
	held     bool
	released time.Time
	busy     int // checks in a row that were

	heard   uint64 // announcements, when the last check had
	checkAt time.Time
}

// begin is called before a check.
func (h *hold) begin(ctx context.Context) {
	if h.lock == nil || h.held || h.busy < busyChecks || time.Since(h.released) < holdGap {
		return
	}
	if h.since.IsZero() {
		h.since = time.Now()
	}
	h.held = h.lock.hold(ctx)
}

// checked is called after a check, with how many transactions are young and have ended, how many
// announcements have been heard, and how many sessions are on the server.
func (h *hold) checked(ctx context.Context, young, ended int, heard uint64, sessions int) {
	now := time.Now()
	wakeups := float64(heard-h.heard) / now.Sub(h.checkAt).Seconds() * float64(sessions-wakeupsFrom)
	h.heard, h.checkAt = heard, now
	if young >= busyYoung || ended >= busyEnded || wakeups > busyWakeups {
		h.busy++
	} else if !h.held {
		h.busy = 0
	}
	if !h.since.IsZero() && now.Sub(h.since) >= heldFor {
		h.release(ctx)
	}
}

// idle is called when the next check is not due yet; zero: there is none.
func (h *hold) idle(ctx context.Context, due time.Time) {
	if !h.since.IsZero() && (due.IsZero() || time.Until(due) > holdIdle) {
		h.release(ctx)
	}
}

// release lets announcements through. The next check shows whether it is still busy.
func (h *hold) release(ctx context.Context) {
	h.lock.release(ctx)
	h.since, h.held, h.released, h.busy = time.Time{}, false, time.Now(), busyChecks-1
}
