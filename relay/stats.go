package relay

import (
	"sync/atomic"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// Stats is a moment's view of a relay. Counters count since [New].
type Stats struct {
	Sessions  int // open
	Tokens    int // waited for, of all sessions
	Refused   uint64
	Draining  bool
	Databases []DatabaseStats // as in Config

	// Waits by what they ended with; Closed are those without an outcome, because Run returned.
	Committed, Aborted, Expired, WrongDatabase, Invalid, Closed uint64
}

// DatabaseStats is about one database.
type DatabaseStats struct {
	Origin   uint32
	Known    bool  // whether it has been reached, so that Origin is known
	Failed   error // why it cannot be served any more
	Listener listener.Stats
}

type counts struct {
	refused atomic.Uint64
	ended   [pgbarrier.Invalid + 1]atomic.Uint64 // by status; Pending: without an outcome
}

// Stats returns the current numbers.
func (r *Relay) Stats() Stats {
	ended := func(status pgbarrier.Status) uint64 { return r.counts.ended[status].Load() }
	s := Stats{
		Sessions: int(r.sessions.Load()), Tokens: int(r.tokens.Load()), Refused: r.counts.refused.Load(), Draining: r.isDraining(),
		Committed: ended(pgbarrier.Committed), Aborted: ended(pgbarrier.Aborted), Expired: ended(pgbarrier.Expired),
		WrongDatabase: ended(pgbarrier.WrongDatabase), Invalid: ended(pgbarrier.Invalid), Closed: ended(pgbarrier.Pending),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, h := range r.homes {
		s.Databases = append(s.Databases, DatabaseStats{Origin: h.origin, Known: h.known, Failed: h.failed, Listener: r.config.Databases[i].Stats()})
	}
	return s
}

func (r *Relay) isDraining() bool {
	select {
	case <-r.draining:
		return true
	default:
		return false
	}
}
