package main

import (
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// A summary is what a run found out.
type summary struct {
	Passed   bool     `json:"passed"`
	Wrong    int      `json:"wrong"`
	Lost     int      `json:"lost"`
	Refused  int      `json:"refused"` // COMMITs that failed because of us
	Findings []string `json:"findings"`

	Seed       uint64  `json:"seed"`
	PostgreSQL int     `json:"postgresql"`
	Seconds    float64 `json:"seconds"`

	Barriers          int64            `json:"barriers"`
	BarriersPerSecond float64          `json:"barriers_per_second"`
	Committed         int              `json:"committed"`
	Verified          int              `json:"verified"`
	Transactions      map[string]int64 `json:"transactions"` // by how they ended
	Broken            int64            `json:"broken"`       // before they came to their planned end
	Timeouts          map[string]int64 `json:"timeouts"`     // transactions that have one, by its name
	Delayed           int64            `json:"delayed"`      // COMMITs seen waiting for somebody's NOTIFY
	Outcomes          map[string]int   `json:"outcomes"`
	Canceled          int64            `json:"canceled"`
	Redelivered       int64            `json:"redelivered"`
	ClosedWaits       int64            `json:"closed"`
	Reads             int64            `json:"reads"`

	FaultsInjected int              `json:"faults_injected"`
	Faults         map[string]int64 `json:"faults"`
	DownSeconds    float64          `json:"down_seconds"`

	// Of transactions with asynchronous commits, and of outcomes that told of one before.
	AsyncTakenBack     int64 `json:"async_taken_back"`
	CommittedThenTaken int   `json:"committed_then_taken_back"`

	BoundSeconds   float64           `json:"bound_s"`
	LongestSeconds float64           `json:"longest_s"`
	Listeners      []listenerSummary `json:"listeners"`
}

// listenerSummary is what one listener, and those that it replaced, did. Latencies are from COMMIT or
// ROLLBACK to the outcome while server and network were up; Longest is in any case, after the
// transaction's end and after all was back.
type listenerSummary struct {
	Name     string         `json:"name"`
	Commits  percentiles    `json:"commits"`
	Aborts   percentiles    `json:"aborts"`
	LongestS float64        `json:"longest_s"`
	Stats    listener.Stats `json:"stats"`
}

func (c *chaos) summarize(took time.Duration, listeners []listenerSummary) *summary {
	v := &c.verdict
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &summary{
		Passed: v.found == [len(failings)]int{}, Wrong: v.found[wrong], Lost: v.found[lost], Refused: v.found[refused],
		Findings: v.findings,
		Seed:     c.opts.seed, PostgreSQL: c.server.Major(), Seconds: took.Seconds(),
		Barriers: c.ledger.made.Load(), Committed: v.committed, Verified: v.verified, Broken: c.failed.Load(),
		Timeouts: make(map[string]int64), Delayed: c.delayed.Load(),
		Transactions: make(map[string]int64), Outcomes: make(map[string]int), Faults: make(map[string]int64),
		Canceled: c.canceled.Load(), Redelivered: c.redelivered.Load(), ClosedWaits: c.closed.Load(), Reads: c.reads.Load(),
		FaultsInjected: c.faultsInjected(),
		AsyncTakenBack: c.asyncLost.Load(), CommittedThenTaken: v.seenThenLost,
		BoundSeconds: c.opts.bound.Seconds(), Listeners: listeners,
	}
	s.BarriersPerSecond = float64(s.Barriers) / s.Seconds
	for i, e := range endings {
		s.Transactions[e.name] = c.ended[i].Load()
	}
	for i, t := range timeoutKinds {
		s.Timeouts[t.name] = c.timed[i].Load()
	}
	for i, f := range faults {
		s.Faults[f.name] = c.injected[i].Load()
	}
	for status, n := range v.outcomes {
		if n > 0 {
			s.Outcomes[pgbarrier.Status(status).String()] = n
		}
	}
	for _, o := range c.outages.list {
		s.DownSeconds += (o.up - o.down).Seconds()
	}
	for i := range listeners {
		l := &listeners[i]
		l.Stats.LastErr = nil // nothing that JSON could tell
		l.Commits = c.latency.percentiles(latencyClass{l.Name, false})
		l.Aborts = c.latency.percentiles(latencyClass{l.Name, true})
		l.LongestS = c.latency.longest[l.Name].Seconds()
		s.LongestSeconds = max(s.LongestSeconds, l.LongestS)
	}
	return s
}

func (s *summary) writeJSON(name string) error {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(b.String()), 0o644)
}
