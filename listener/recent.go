package listener

import "github.com/pgbarrier/pgbarrier"

// recentSize bounds the outcomes that are remembered; a slot takes about 100 bytes.
const recentSize = 8192

// recent remembers the last outcomes, so that a wait that begins after its announcement, or again
// after a redelivery, needs no check. The oldest is overwritten. The waitSet's lock guards it.
type recent struct {
	outcomes map[pgbarrier.Token]error // nil: committed
	ring     []pgbarrier.Token
	next     int
}

func (r *recent) remember(t pgbarrier.Token, outcome error) {
	if r.outcomes == nil {
		r.outcomes = make(map[pgbarrier.Token]error)
	}
	if _, known := r.outcomes[t]; known {
		return
	}
	if len(r.ring) < recentSize {
		r.ring = append(r.ring, t)
	} else {
		delete(r.outcomes, r.ring[r.next])
		r.ring[r.next] = t
		r.next = (r.next + 1) % recentSize
	}
	r.outcomes[t] = outcome
}

func (r *recent) outcome(t pgbarrier.Token) (outcome error, known bool) {
	outcome, known = r.outcomes[t]
	return outcome, known
}

// forget is called when a connection was lost: the server may have crashed, and a commit that was
// visible but not yet durable is gone then.
func (r *recent) forget() { *r = recent{} }
