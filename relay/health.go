package relay

import (
	"errors"
	"fmt"
	"time"
)

var (
	errNotRunning = errors.New("pgbarrier: relay: it does not run")
	errDraining   = errors.New("pgbarrier: relay: it is draining")
)

// Live returns nil unless Run has returned. An outage of a database is no reason to restart a relay, which would not
// end it.
func (r *Relay) Live() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return errNotRunning
	}
	return nil
}

// Ready returns nil if new clients are welcome: Run runs, every database has been reached once, and Drain was not
// called. It stays nil in an outage, in which waits go on; see [Relay.Answering].
func (r *Relay) Ready() error {
	if r.isDraining() {
		return errDraining
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || !r.begun.Load() {
		return errNotRunning
	}
	for i, h := range r.homes {
		switch {
		case h.failed != nil:
			return fmt.Errorf("pgbarrier: relay: database %d cannot be served: %w", i, h.failed)
		case !h.known:
			return fmt.Errorf("pgbarrier: relay: database %d has not been reached yet", i)
		}
	}
	return nil
}

// troubledAfter is for how long a database may fail to answer before clients are better off elsewhere. An answer that
// fails once is asked for again at once.
const troubledAfter = 2 * time.Second

// Answering reports whether waits in the database with that origin are answered now: the database is served here, and
// answers. If not, another relay may reach it.
func (r *Relay) Answering(origin uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.homes {
		if h.known && h.origin == origin {
			return h.troubled.IsZero() || time.Since(h.troubled) < troubledAfter
		}
	}
	return false
}

// Full reports whether new waits would be refused because of Config.MaxTokens.
func (r *Relay) Full() bool { return r.tokens.Load() >= int64(r.config.MaxTokens) }
