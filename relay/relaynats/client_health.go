package relaynats

import (
	"errors"
	"fmt"
	"time"
)

// Stats is a moment's view of a client. Counters count since [NewClient].
type Stats struct {
	Waiting     int        // waits that have not ended
	Databases   []Database // that something was waited for in
	Answers     uint64     // outcomes
	Sessions    uint64     // that were begun
	Lost        uint64     // of them, those that ended without the client's doing
	Resubmitted uint64     // waits, to a relay that took another's place
	Disbelieved uint64     // outcomes that were too old when they came
	Repeated    uint64     // messages that came twice
	Ignored     uint64     // messages that could not be read, or were not signed
	Busy        uint64     // messages by which a relay's limit has refused waits
	Fallbacks   uint64     // calls of ClientConfig.Fallback
}

// Database is what a client has with the relays of one.
type Database struct {
	Origin     uint32
	Waiting    int           // waits that have not ended
	Relay      string        // the id of the one that is asked; empty: none
	Unanswered time.Duration // for how long no relay has answered what one should have
	Problem    string        // what went wrong last; empty when all is well
}

// Stats returns the current numbers.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	now := time.Now()
	for _, l := range c.links {
		d := Database{Origin: l.origin, Waiting: len(l.unsent) + len(l.sent), Problem: l.problem}
		if l.session != nil {
			d.Relay = l.session.relay
		}
		if !l.unanswered.IsZero() {
			d.Unanswered = now.Sub(l.unanswered)
		}
		s.Databases = append(s.Databases, d)
	}
	return s
}

// Health returns nil, or says for which databases no relay has answered for five seconds what one should have: waits go
// on then, and end when one does. A database that no relay serves, of a token that came from elsewhere perhaps, looks
// like relays that are down.
func (c *Client) Health() error {
	var errs []error
	for _, d := range c.Stats().Databases {
		if d.Unanswered >= warnAfter {
			errs = append(errs, fmt.Errorf("pgbarrier: no relay has answered for database %s for %v, %d waits go on: %s",
				formatOrigin(d.Origin), d.Unanswered.Round(time.Second), d.Waiting, d.Problem))
		}
	}
	if err := c.bus.lastError(); err != nil && len(errs) > 0 {
		errs = append(errs, fmt.Errorf("pgbarrier: NATS said: %w", err))
	}
	return errors.Join(errs...)
}
