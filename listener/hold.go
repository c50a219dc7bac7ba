package listener

import (
	"context"
	"time"
)

// A busy checker needs no announcements, which cost a full machine a seventh of its CPU for each commit. While it is
// busy it holds the lock of pgbarrier.announce() in SHARE mode: producers only try for it, and commit unannounced
// then, as riders do. It holds it for a short while at a time and never waits for it.

const (
	// A checker is busy if on the average of the last checks so many transactions end from one to the next, or
	// announcements wake so many sessions in a second. With one transaction at a time it never is.
	busyEnded   = 3
	busyWakeups = 20_000
	fewSessions = 32 // so many are no matter
	heldFor     = 100 * time.Millisecond
	holdGap     = 20 * time.Millisecond // until it may be held again
	holdIdle    = 50 * time.Millisecond // it is not held through a longer pause
)

// A lock is the announcing lock, in SHARE mode. To hold it may be tried again until it is released.
type lock interface {
	hold(ctx context.Context) (held bool)
	release(ctx context.Context)
}

// A hold decides when the lock is held.
type hold struct {
	lock                  lock
	since                 time.Time // of the first attempt to hold it; zero: none
	held                  bool
	released              time.Time
	averageEnded, wakeups float64
	ended, heard          uint64 // transactions and announcements until the last check
	checkedAt             time.Time
}

// begin is called before a check.
func (h *hold) begin(ctx context.Context) {
	busy := h.averageEnded >= busyEnded || h.wakeups >= busyWakeups
	if busy && !h.held && time.Since(h.released) >= holdGap {
		if h.since.IsZero() {
			h.since = time.Now()
		}
		h.held = h.lock.hold(ctx)
	}
}

// checked is called after a check, with the transactions ended and announcements heard so far, and the sessions.
func (h *hold) checked(ctx context.Context, ended, heard uint64, sessions int) {
	now := time.Now()
	h.averageEnded += (float64(ended-h.ended) - h.averageEnded) / 4
	if !h.held {
		rate := float64(heard-h.heard) / now.Sub(h.checkedAt).Seconds()
		h.wakeups += (rate*float64(max(sessions-fewSessions, 0)) - h.wakeups) / 4
	}
	h.ended, h.heard, h.checkedAt = ended, heard, now
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

func (h *hold) release(ctx context.Context) {
	h.lock.release(ctx)
	h.since, h.held, h.released = time.Time{}, false, time.Now()
}
