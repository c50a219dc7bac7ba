package listener

import (
	"time"

	"github.com/pgbarrier/pgbarrier"
)

const (
	// announcedFor is for how long an announcement is remembered. The server may be gone for as long as a
	// heartbeat before a half-open connection shows it, and its successor may lack the commit (asynchronous
	// replication).
	announcedFor = time.Second // breakage: memory only for a second
	// announcedMost bounds how many are; each takes about 100 bytes.
	announcedMost = 8192
)

// announced remembers when announcements were heard, so that a wait that begins after its own needs no
// check. The waitSet's lock guards it.
type announced map[pgbarrier.Token]time.Time

func (a announced) remember(t pgbarrier.Token, now time.Time) {
	if len(a) == announcedMost {
		clear(a) // most are too old
	}
	a[t] = now
}

// has reports whether t was heard a moment ago.
func (a announced) has(t pgbarrier.Token, now time.Time) bool {
	at, heard := a[t]
	return heard && now.Sub(at) <= announcedFor
}
