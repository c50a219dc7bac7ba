package main

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// A verdict is what was found so far.
type verdict struct {
	stop func() // ends the run early

	mu       sync.Mutex // guards all below
	found    [len(failings)]int
	findings []string // the first few, with the token's history

	verified     int // barriers
	committed    int // of them, by the rows
	outcomes     [pgbarrier.Invalid + 1]int
	seenThenLost int // outcomes that an asynchronous commit made true for a while
}

// A failing is a kind of what must not be.
type failing int

const (
	wrong   failing = iota
	lost            // a wait, or a barrier
	refused         // a COMMIT, because of us
)

var failings = [...]string{wrong: "WRONG", lost: "LOST", refused: "REFUSED"}

// maxFindings are told in full; the others are counted.
const maxFindings = 5

// fail notes that something must not be. b may be nil.
func (c *chaos) fail(what failing, b *barrier, why string) {
	v := &c.verdict
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found[what]++
	if len(v.findings) < maxFindings {
		finding := fmt.Sprintf("%s at %s: %s\n", failings[what], clock(c.now()), why)
		if b != nil {
			finding += c.history(b)
		}
		v.findings = append(v.findings, finding)
		c.out.Print(finding)
	}
	v.stop()
}

// settle is how long after its end a transaction of which nothing was heard may still be committing.
const settle = 30 * time.Second

// watch verifies what has settled and looks for lost waits, until ctx ends.
func (c *chaos) watch(ctx context.Context, giveUp func()) {
	for tick := 0; sleep(ctx, time.Second); tick++ {
		if c.findLostWaits() {
			giveUp()
		}
		if tick%5 == 0 {
			_ = c.verify(ctx, false) // what could not be read now is read at the end
		}
	}
}

// findLostWaits reports whether a wait has taken longer than it may.
func (c *chaos) findLostWaits() bool {
	found := false
	for _, w := range c.ledger.openWaits() {
		if since, running := c.due(w.slot, w.began, w.barriers); !running && c.now()-since > c.opts.bound {
			c.fail(lost, w.barriers[0], fmt.Sprintf("%s waits since %s and should have ended within %v after %s",
				c.fleet[w.slot].name, clock(w.began), c.opts.bound, clock(since)))
			found = true
		}
	}
	return found
}

// due returns the moment from which on a wait's outcome can be had: it has begun, its transactions have
// ended, server and network are back. running: that is still to come.
func (c *chaos) due(slot int, began moment, barriers []*barrier) (since moment, running bool) {
	since, up := c.outages.back()
	if c.fleet[slot].proxied {
		good, now := c.net.good()
		since, up = max(since, good), up && now
	}
	ended := lastEnd(barriers)
	if ended == 0 {
		return 0, true
	}
	since = max(since, began, ended)
	return since, !up
}

// verifyBatch bounds a statement.
const verifyBatch = 5000

// verify compares what has settled, or everything, with the rows.
func (c *chaos) verify(ctx context.Context, all bool) error {
	if _, up := c.outages.back(); !up && !all {
		return nil
	}
	// Verified or not, they are out of the ledger: read until the rows are there.
	settled := c.ledger.settled(c.now()-settle, all)
	for len(settled) > 0 {
		n, barriers := 0, 0
		for n < len(settled) && barriers < verifyBatch {
			barriers += len(settled[n].barriers)
			n++
		}
		for {
			err := c.verifyBatch(context.WithoutCancel(ctx), settled[:n])
			if err == nil {
				break
			}
			if all && !wire.IsOutage(err) || !all && c.ctx.Err() != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
		settled = settled[n:]
	}
	return nil
}

func (c *chaos) verifyBatch(ctx context.Context, txs []*transaction) error {
	var keys []int64
	for _, tx := range txs {
		for _, b := range tx.barriers {
			keys = append(keys, b.key)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, producerTimeout)
	defer cancel()
	// Without a mark rows of all may be missing.
	var through pgtype.Uint64
	if err := c.admin.QueryRow(ctx, "SELECT (SELECT through FROM pgbarrier.horizon)").Scan(&through); err != nil {
		return err
	}
	if !through.Valid {
		through.Uint64 = math.MaxUint64
	}
	var found []int64
	err := c.admin.QueryRow(ctx, "SELECT coalesce(array_agg(key), '{}') FROM chaos.truth WHERE key = ANY($1)", keys).Scan(&found)
	if err != nil {
		return err
	}
	rows := make(map[int64]bool, len(found))
	for _, key := range found {
		rows[key] = true
	}
	for _, tx := range txs {
		takenBack := false
		for _, b := range tx.barriers {
			row := rows[b.key]
			c.judge(b, row, through.Uint64)
			takenBack = takenBack || c.takenBack(tx, row) && tx.told == toldCommitted && !tx.lostAtSavepoint(b)
		}
		if takenBack {
			c.asyncLost.Add(1)
		}
	}
	return nil
}
