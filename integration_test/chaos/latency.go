package main

import (
	"slices"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// latencies are from a transaction's end, or a later wait's beginning, to the outcome: calm where the
// server and the network were up all the time, and in any case.
type latencies struct {
	mu      sync.Mutex
	calm    map[latencyClass][]uint32 // microseconds; guarded by mu, as is longest
	longest map[string]time.Duration  // by listener: while all was up, before an outage or after it
}

// remarkable is what -v tells of.
const remarkable = 2 * time.Second

type latencyClass struct {
	listener string
	aborted  bool
}

// add takes an outcome for transactions the last of which ended at the moment ended; zero: was not told yet.
func (l *latencies) add(c *chaos, tx *transaction, ended moment, o outcome) {
	slot := c.fleet[o.slot]
	since := max(o.began, ended)
	if ended == 0 || since > o.ended {
		since = o.ended // announced before the producer was told
	}
	took := o.ended - since
	stretch, disturbed := c.outages.longestUp(since, o.ended)
	if slot.proxied {
		bad, now := c.net.good()
		disturbed = disturbed || !now || bad >= since
		stretch = min(stretch, max(0, o.ended-bad))
	}
	if c.opts.verbose && stretch > remarkable {
		c.out.Printf("%s: %s took %v for %s of transaction %d/%d (%s), which ended %s\n", clock(o.ended), slot.name,
			took.Round(time.Millisecond), o.status, tx.producer, tx.number, endings[tx.plan.ending].name, clock(ended))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calm == nil {
		l.calm, l.longest = make(map[latencyClass][]uint32), make(map[string]time.Duration)
	}
	l.longest[slot.name] = max(l.longest[slot.name], stretch)
	if !disturbed && (o.status == pgbarrier.Committed || o.status == pgbarrier.Aborted) {
		class := latencyClass{slot.name, o.status == pgbarrier.Aborted}
		l.calm[class] = append(l.calm[class], uint32(min(took, time.Hour).Microseconds()))
	}
}

// percentiles are p50, p99 and the maximum in milliseconds.
type percentiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

func (l *latencies) percentiles(class latencyClass) percentiles {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.calm[class]
	if len(all) == 0 {
		return percentiles{}
	}
	slices.Sort(all)
	at := func(p float64) float64 { return float64(all[int(p*float64(len(all)-1))]) / 1000 }
	return percentiles{Count: len(all), P50: at(0.5), P99: at(0.99), Max: at(1)}
}
