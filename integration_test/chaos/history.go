package main

import (
	"fmt"
	"strings"
)

// history tells all that is known about a barrier: the transaction, the waits, the server.
func (c *chaos) history(b *barrier) string {
	tx := b.tx
	tx.mu.Lock()
	defer tx.mu.Unlock()
	var s strings.Builder
	fmt.Fprintf(&s, "  token %v (created %s), key %d, seed %d\n", b.token, b.token.Created().Format("15:04:05.000"), b.key, c.opts.seed)
	fmt.Fprintf(&s, "  transaction %d of producer %d: %s, began %s, ended %s, its producer was told %s\n",
		tx.number, tx.producer, endings[tx.plan.ending].name, clock(tx.began), clock(tx.ended),
		[]string{"nothing", "that it committed", "that it aborted"}[tx.told])
	fmt.Fprintf(&s, "  asynchronous %v, unannounced %v, isolation %q, at a savepoint that is rolled back %v, %d barriers\n",
		tx.plan.async, tx.plan.quiet, tx.plan.isolation, tx.lostAtSavepoint(b), len(tx.barriers))
	for i, d := range tx.plan.timeouts {
		if d > 0 {
			fmt.Fprintf(&s, "  %s %v\n", timeoutKinds[i].name, d)
		}
	}
	for _, o := range b.outcomes {
		fmt.Fprintf(&s, "  %s: waited from %s to %s: %v\n", c.who(o.slot), clock(o.began), clock(o.ended), o.status)
	}
	for _, w := range c.ledger.openWaits() {
		for _, other := range w.barriers {
			if other == b {
				fmt.Fprintf(&s, "  %s: waits since %s, for %d barriers: %+v\n", c.fleet[w.slot].name, clock(w.began),
					len(w.barriers), c.fleet[w.slot].listener().Stats())
			}
		}
	}
	c.outages.mu.Lock()
	defer c.outages.mu.Unlock()
	for _, o := range c.outages.list {
		if o.up == 0 || o.up >= tx.began {
			fmt.Fprintf(&s, "  the server was down from %s to %s, crash %v\n", clock(o.down), clock(o.up), o.crash)
		}
	}
	c.cleaned.mu.Lock()
	defer c.cleaned.mu.Unlock()
	for _, x := range c.cleaned.list {
		if x.to == 0 || x.to >= tx.began {
			fmt.Fprintf(&s, "  a cleaner came at %s, the next mark by %s\n", clock(x.from), clock(x.to))
		}
	}
	return s.String()
}

// Slots of outcomes that no listener told, see checkRecent.
const (
	olderSnapshot = -1
	afterCleaner  = -2
)

// who told an outcome.
func (c *chaos) who(slot int) string {
	switch slot {
	case olderSnapshot:
		return "a check by a snapshot older than a cleaner"
	case afterCleaner:
		return "a check after a cleaner"
	}
	return c.fleet[slot].name
}

// clock shows a moment as minutes and seconds.
func clock(m moment) string {
	if m == 0 {
		return "never"
	}
	return fmt.Sprintf("%02d:%06.3f", int(m.Minutes()), m.Seconds()-60*float64(int(m.Minutes())))
}
