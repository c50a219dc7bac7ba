package listener

import (
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// hear takes the payload of a notification on Channel. Anybody who can connect can send there, but only an exact
// token can end a wait, and before the commit only its producer and those it was handed to know it.
func (s *waitSet) hear(payload string) error {
	t, err := pgbarrier.ParseToken(payload)
	var n news
	s.mu.Lock()
	if err != nil {
		s.stats.Malformed++
	} else {
		s.stats.Announcements++
		s.heardAt = time.Now()
		if s.stats.Connected { // breakage: memory only while a session would notice a crash
			if len(s.announced) == announcedMost {
				clear(s.announced) // most are too old
			}
			s.announced[t] = s.heardAt
		}
		s.resolve(t, nil, ByAnnouncement, 0, &n) // breakage: announcement ends only its own token
		if len(s.pending) > 0 {                  // breakage: riders
			signal(s.wake)
		}
	}
	s.mu.Unlock()
	s.tell(n)
	return err
}

// apply ends the waits whose outcome one statement has found, and returns how many tokens have one.
func (s *waitSet) apply(tokens []pgbarrier.Token, answer wire.Answer) (resolved int) {
	var n news
	s.mu.Lock()
	s.statements++
	s.origin = answer.Origin
	for i, outcome := range answer.Outcomes {
		if outcome == wire.Pending { // breakage: pending stays
			continue
		}
		resolved++
		s.resolve(tokens[i], pgbarrier.Status(outcome).Err(tokens[i]), ByCheck, s.statements, &n)
		if outcome == wire.Aborted && tokens[i].XID >= answer.Snapshot.Xmax && s.transactions[tokens[i].XID] != nil {
			s.checkAll = true // not handed out yet: a crash took it, and the others of its transaction
			clear(s.announced)
		}
	}
	s.mu.Unlock()
	s.tell(n)
	return resolved
}

// resolve gives a token its outcome, found by that statement (0: by none). The caller holds mu, and tells
// n after releasing it.
func (s *waitSet) resolve(t pgbarrier.Token, outcome error, by How, statement uint64, n *news) {
	b := s.pending[t]
	if b == nil {
		return
	}
	s.remove(b)
	for b.waits.first != nil { // breakage: outcome ends all waits for it
		e := b.waits.first
		e.leave()
		s.settle(e.element, outcome, statement, n)
	}
	if by == ByCheck {
		s.stats.ResolvedByCheck++
	} else {
		s.stats.ResolvedByAnnouncement++
	}
	n.resolved = append(n.resolved, Resolved{Token: t, Err: outcome, By: by, Waited: time.Since(b.since)})
}

// settle takes one token's outcome into account. A wait for several ends committed only if one statement
// found all of them so: by several, with a crash between, commits could count that were never there at
// once. Otherwise the next check asks for all of them again, in one statement. The caller holds mu.
func (s *waitSet) settle(sub *Subscription, outcome error, statement uint64, n *news) {
	switch {
	case sub.err != ErrPending:
		return
	case outcome != nil || len(sub.entries) == 1:
		s.end(sub, outcome, n)
		return
	case sub.missing == len(sub.entries):
		sub.foundBy = statement
	case sub.foundBy != statement: // breakage: several by one statement
		sub.foundBy = 0
	}
	if sub.missing--; sub.missing > 0 {
		return
	}
	if sub.foundBy > 0 {
		s.end(sub, nil, n)
		return
	}

	now := time.Now()
	sub.missing = len(sub.entries)
	for i := range sub.entries {
		e := &sub.entries[i]
		s.join(e, e.barrier.token, now)
		s.fresh.push(&e.barrier.node) // also one that others have asked for meanwhile
	}
	signal(s.wake)
}

const (
	// announcedFor is for how long an announcement is remembered. The server may be gone for longer before a
	// half-open connection shows it, and its successor may lack the commit (asynchronous replication).
	announcedFor = time.Second // breakage: memory only for a second
	// announcedMost bounds how many are; each takes about 100 bytes.
	announcedMost = 8192
)

// announced remembers announcements, so that a wait that begins after its own needs no check.
type announced map[pgbarrier.Token]time.Time

// has reports whether t was heard a moment ago.
func (a announced) has(t pgbarrier.Token, now time.Time) bool {
	at, heard := a[t]
	return heard && now.Sub(at) <= announcedFor
}
