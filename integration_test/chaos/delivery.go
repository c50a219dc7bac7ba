package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// deliver hands a message to a worker.
func (c *chaos) deliver(tx *transaction, m message, previous *barrier) {
	// Copied: the slice is not written to any more, once it is in the ledger.
	barriers := append([]*barrier(nil), tx.barriers[m.from:m.to]...)
	if m.previous && previous != nil && previous.tx.hold() {
		barriers = append(barriers, previous)
	} else {
		previous = nil
	}
	tx.hold()
	c.messages.Add(1)
	c.working.Go(func() {
		c.work(m, barriers)
		c.messages.Add(-1)
		if m.late > 0 {
			c.workLate(m, barriers)
		}
		tx.release()
		if previous != nil {
			previous.tx.release()
		}
	})
}

// work is what a worker does with a message.
func (c *chaos) work(m message, barriers []*barrier) {
	slot := m.listener % len(c.fleet)
	if m.cancelAfter > 0 {
		ctx, cancel := context.WithTimeout(c.ctx, m.cancelAfter)
		c.await(ctx, slot, barriers)
		if ctx.Err() != nil {
			c.canceled.Add(1)
		}
		cancel()
		slot = m.otherSlot(slot, len(c.fleet))
	}
	committed := c.await(c.ctx, slot, barriers)
	if committed && m.read {
		c.read(slot, barriers)
	}
	if m.again > 0 && sleep(c.hurry, m.again) {
		c.redelivered.Add(1)
		c.await(c.ctx, m.otherSlot(slot, len(c.fleet)), barriers)
	}
}

// workLate waits when the barriers are older than the retention, if the run lasts so long.
func (c *chaos) workLate(m message, barriers []*barrier) {
	age := c.opts.retention + m.late
	if sleep(c.hurry, time.Until(barriers[0].token.Created().Add(age))) {
		c.redelivered.Add(1)
		for _, b := range barriers {
			c.await(c.ctx, m.listener%len(c.fleet), []*barrier{b})
		}
	}
}

func (m message) otherSlot(slot, slots int) int {
	if m.elsewhere {
		return (slot + 1) % slots
	}
	return slot
}

// await waits for all of the barriers, and for each by itself if not all are committed. It returns
// whether they are.
func (c *chaos) await(ctx context.Context, slot int, barriers []*barrier) bool {
	for {
		began := c.now()
		w := &wait{slot: slot, began: began, barriers: barriers}
		tokens := make([]pgbarrier.Token, len(barriers))
		for i, b := range barriers {
			tokens[i] = b.token
		}
		c.ledger.open(w)
		err := c.fleet[slot].listener().Wait(ctx, tokens...)
		c.ledger.close(w)
		o := outcome{slot: slot, began: began, ended: c.now(), status: pgbarrier.Committed}
		if err == nil {
			for _, b := range barriers {
				c.note(b, lastEnd(barriers), o)
			}
			return true
		}
		var ends *pgbarrier.TokenError
		switch {
		case errors.Is(err, pgbarrier.ErrClosed): // its listener was replaced: the queue delivers again
			c.closed.Add(1)
			if ctx.Err() != nil {
				return false
			}
			continue
		case err == ctx.Err(): //nolint:errorlint // a context's error comes back as itself
			return false
		case !errors.As(err, &ends):
			c.fail(wrong, barriers[0], "a wait ended with "+err.Error())
			return false
		}
		o.status = statusOf(err)
		rest := make([]*barrier, 0, len(barriers))
		for _, b := range barriers {
			if b.token == ends.Token {
				c.note(b, b.tx.endedAt(), o)
			} else {
				rest = append(rest, b)
			}
		}
		if len(rest) == len(barriers) {
			c.fail(wrong, barriers[0], "a wait for other tokens ended with "+err.Error())
			return false
		}
		for _, b := range rest {
			c.await(ctx, slot, []*barrier{b})
		}
		return false
	}
}

// note enters what a wait told about a barrier.
func (c *chaos) note(b *barrier, ended moment, o outcome) {
	b.add(o)
	c.latency.add(c, b.tx, ended, o)
}

// lastEnd is when the last of the barriers' transactions ended, zero while one may be running.
func lastEnd(barriers []*barrier) (last moment) {
	for _, b := range barriers {
		ended := b.tx.endedAt()
		if ended == 0 {
			return 0
		}
		last = max(last, ended)
	}
	return last
}

// statusOf is the status that a wait's error speaks of.
func statusOf(err error) pgbarrier.Status {
	for status := pgbarrier.Aborted; status <= pgbarrier.Invalid; status++ {
		if errors.Is(err, errors.Unwrap(status.Err(pgbarrier.Token{}))) {
			return status
		}
	}
	return pgbarrier.Pending
}

// read is what a worker does after its wait: the updates must be there, for any new snapshot.
func (c *chaos) read(slot int, barriers []*barrier) {
	keys := make([]int64, len(barriers))
	for i, b := range barriers {
		keys[i] = b.key
	}
	var visible int
	ctx, cancel := context.WithTimeout(c.ctx, producerTimeout)
	defer cancel()
	err := c.admin.QueryRow(ctx, "SELECT count(*) FROM chaos.truth WHERE key = ANY($1)", keys).Scan(&visible)
	if err != nil {
		return // the server is down: the rows are read at the end
	}
	c.reads.Add(1)
	if visible == len(barriers) {
		return
	}
	for _, b := range barriers {
		if _, crashed := c.outages.crashAfter(b.tx.began); b.tx.plan.async && crashed {
			return // judged at the end
		}
	}
	c.fail(wrong, barriers[0], fmt.Sprintf("%s said committed, and %d of %d rows can be read",
		c.fleet[slot].name, visible, len(barriers)))
}
