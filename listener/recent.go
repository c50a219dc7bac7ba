package listener

import (
	"time"

	"github.com/pgbarrier/pgbarrier"
)

const (
	// recentSize bounds the outcomes that are remembered; a slot takes about 150 bytes.
	recentSize = 8192
	// commitMemory is for how long a commit is remembered. The server may be gone for as long as a heartbeat
	// before a half-open connection tells so, and its successor may lack the commit (asynchronous replication).
	commitMemory = time.Second
)

// recent remembers the last outcomes, so that a wait that begins after its announcement, or again
// after a redelivery, needs no check. The oldest is overwritten. The waitSet's lock guards it.
type recent struct {
	outcomes map[pgbarrier.Token]learned
	ring     []pgbarrier.Token
	next     int
}

type learned struct {
	outcome error // nil: committed
	at      time.Time
}

func (r *recent) remember(t pgbarrier.Token, outcome error, now time.Time) {
	if r.outcomes == nil {
		r.outcomes = make(map[pgbarrier.Token]learned)
	}
	l, known := r.outcomes[t]
	if known && l.outcome != nil {
		return // an announcement that comes after its barrier was purged changes nothing
	}
	if !known {
		if len(r.ring) < recentSize {
			r.ring = append(r.ring, t)
		} else {
			delete(r.outcomes, r.ring[r.next])
			r.ring[r.next] = t
			r.next = (r.next + 1) % recentSize
		}
	}
	r.outcomes[t] = learned{outcome, now}
}

func (r *recent) outcome(t pgbarrier.Token, now time.Time) (outcome error, known bool) {
	l, known := r.outcomes[t]
	if known && l.outcome == nil && now.Sub(l.at) > commitMemory {
		return nil, false
	}
	return l.outcome, known
}

// forget is called when a connection was lost: the server may have crashed, and a commit that was
// visible but not yet durable is gone then.
func (r *recent) forget() { *r = recent{} }
