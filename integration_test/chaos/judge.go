package main

import (
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// clockSlack: an id has whole milliseconds, and the server's clock may be set meanwhile.
const clockSlack = 10 * time.Millisecond

// judge compares the outcomes of a barrier, whose transaction is final, with its row. through is the
// purge horizon of now, which only grows.
func (c *chaos) judge(b *barrier, row bool, through uint64) {
	tx := b.tx
	tx.mu.Lock()
	outcomes, what := b.outcomes, tx.told
	tx.mu.Unlock()
	v := &c.verdict
	v.mu.Lock()
	v.verified++
	if row {
		v.committed++
	}
	v.mu.Unlock()

	// The producer is compared too: a truth that contradicts it would be none.
	back, _ := c.outages.crashAfter(tx.began)
	takenBack := c.takenBack(tx, row)
	switch {
	case what == toldAborted && row:
		c.fail(wrong, b, "the producer was told that it aborted, and there is a row")
	case what == toldCommitted && !row && !takenBack && !tx.lostAtSavepoint(b):
		c.fail(wrong, b, "the producer was told that it committed, and there is no row")
	}
	if len(outcomes) == 0 && c.ctx.Err() == nil {
		c.fail(lost, b, "nobody got an outcome")
	}
	for _, o := range outcomes {
		v.mu.Lock()
		v.outcomes[o.status]++
		v.mu.Unlock()
		switch {
		case o.status == pgbarrier.Committed && row, o.status == pgbarrier.Aborted && !row:
		case o.status == pgbarrier.Committed && takenBack && o.ended <= back:
			v.mu.Lock()
			v.seenThenLost++
			v.mu.Unlock()
		case o.status == pgbarrier.Expired && c.mayExpire(b, o, through):
		default:
			c.fail(wrong, b, fmt.Sprintf("%s said %v at %s, and there is %s row",
				c.who(o.slot), o.status, clock(o.ended), map[bool]string{true: "a", false: "no"}[row]))
		}
	}
}

// mayExpire reports whether rows of b's age may have been gone when o was told: purged, or taken by a cleaner.
// That its transaction aborted as a whole stays certain, unless a crash may have made its id another's.
func (c *chaos) mayExpire(b *barrier, o outcome, through uint64) bool {
	b.tx.mu.Lock()
	aborted := b.tx.told == toldAborted
	b.tx.mu.Unlock()
	if _, crashed := c.outages.crashAfter(b.tx.began); aborted && !crashed {
		return false
	}
	// Horizons are transaction ids: what counts is when it had been given one, not when the barrier was made.
	purged := o.ended-b.tx.began >= c.opts.retention-clockSlack && b.token.XID <= through
	return purged || c.cleaned.overlap(b.tx.began, o.ended)
}

// takenBack reports whether a crash may have taken a commit that had been visible.
func (c *chaos) takenBack(tx *transaction, row bool) bool {
	_, crashed := c.outages.crashAfter(tx.began)
	return tx.plan.async && crashed && !row
}

// lostAtSavepoint reports whether b was to be rolled back by itself.
func (tx *transaction) lostAtSavepoint(b *barrier) bool {
	i := 0
	for _, g := range tx.plan.groups {
		for range g.barriers {
			if i < len(tx.barriers) && tx.barriers[i] == b {
				return g.lost
			}
			i++
		}
	}
	return false
}
