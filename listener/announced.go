package listener

import (
	"time"

	"github.com/pgbarrier/pgbarrier"
)

const (
	// announcedSize bounds what is remembered; a slot takes about 100 bytes.
	announcedSize = 8192
	// announcedFor is for how long. The server may be gone for as long as a heartbeat before a half-open
	// connection tells so, and its successor may lack the commit (asynchronous replication).
	announcedFor = time.Second // breakage: memory only for a second
)

// announced remembers the last announcements, so that a wait that begins after its own needs no check. The
// oldest is overwritten. The waitSet's lock guards it.
type announced struct {
	heard map[pgbarrier.Token]time.Time
	ring  []pgbarrier.Token
	next  int
}

func (a *announced) remember(t pgbarrier.Token, now time.Time) {
	if a.heard == nil {
		a.heard = make(map[pgbarrier.Token]time.Time)
	}
	if _, known := a.heard[t]; !known {
		if len(a.ring) < announcedSize {
			a.ring = append(a.ring, t)
		} else {
			delete(a.heard, a.ring[a.next])
			a.ring[a.next] = t
			a.next = (a.next + 1) % announcedSize
		}
	}
	a.heard[t] = now
}

// has reports whether t was heard a moment ago.
func (a *announced) has(t pgbarrier.Token, now time.Time) bool {
	at, known := a.heard[t]
	return known && now.Sub(at) <= announcedFor
}

// forget is called when the server may have crashed: a commit that was visible and not yet durable is gone
// then.
func (a *announced) forget() { *a = announced{} }
