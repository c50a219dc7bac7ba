package listener

import (
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// What becomes of the waits of a waitSet when an outcome is learned.

// hear takes the payload of a notification on Channel. Anybody who can connect can send there: only
// an exact token can end a wait, and only its producer and those it was handed to know one before the
// commit.
func (s *waitSet) hear(payload string) error {
	t, err := pgbarrier.ParseToken(payload)
	if err != nil {
		s.mu.Lock()
		s.counts.malformed++
		s.mu.Unlock()
		return err
	}
	s.announce(t)
	return nil
}

// announce ends the waits for a token whose commit was heard of, and remembers it for waits to come.
func (s *waitSet) announce(t pgbarrier.Token) {
	s.mu.Lock()
	s.counts.announcements++
	s.heardAt = time.Now()
	reports := s.resolve(t, nil, ByAnnouncement, nil)
	riders := len(s.pending) > 0
	s.mu.Unlock()

	s.report(reports)
	if riders {
		signal(s.wake)
	}
}

// judged ends the waits whose outcome a check or a watch has found, and returns how many tokens that were.
// What a watch has found is dropped if it is in doubt: a check that has been asked for knows better, and may
// have told other waits already.
func (s *waitSet) judged(tokens []pgbarrier.Token, statuses []pgbarrier.Status, by How) int {
	var reports []Resolved
	found := 0
	s.mu.Lock()
	if by == ByWatch && s.asked.watch != s.epoch {
		s.mu.Unlock()
		return 0
	}
	for i, status := range statuses {
		if status != pgbarrier.Pending {
			found++
			reports = s.resolve(tokens[i], status.Err(tokens[i]), by, reports)
		}
	}
	running := len(s.running) > 0
	s.mu.Unlock()
	s.report(reports)
	if running {
		signal(s.watch)
	}
	return found
}

// resolve gives a token its outcome. The caller holds mu, and reports after releasing it.
func (s *waitSet) resolve(t pgbarrier.Token, outcome error, by How, reports []Resolved) []Resolved {
	epoch := s.epoch
	if by == ByCheck {
		epoch = s.asked.check
	}
	if outcome != nil || !s.unheard && epoch == s.epoch {
		s.recent.remember(t, outcome, time.Now())
	}
	if by == ByAnnouncement {
		epoch = 0 // it may have been sent before a crash, and read after it
	}
	b := s.pending[t]
	if b == nil {
		return reports
	}
	s.remove(b)
	for b.waits.first != nil {
		place := b.waits.first
		place.leave()
		s.settle(place.element, outcome, epoch)
	}
	switch by {
	case ByCheck:
		s.counts.byCheck++
	case ByWatch:
		s.counts.byWatch++
	default:
		s.counts.byAnnouncement++
	}
	if s.resolved != nil {
		reports = append(reports, Resolved{Token: t, Err: outcome, By: by, Waited: time.Since(b.since)})
	}
	return reports
}

func (s *waitSet) report(reports []Resolved) {
	for _, r := range reports {
		s.resolved(r)
	}
}

// settle takes one token's outcome into account, which was found in the epoch, or in none (0). A wait
// for several ends committed if all were found in the same one. The caller holds mu.
func (s *waitSet) settle(sub *Subscription, outcome error, epoch uint64) {
	switch {
	case sub.ended():
		return
	case outcome != nil || len(sub.seats) == 1:
		s.end(sub, outcome)
		return
	case sub.missing == len(sub.seats):
		sub.epoch = epoch
	case sub.epoch != epoch:
		sub.epoch = 0
	}
	if sub.missing--; sub.missing > 0 {
		return
	}
	if sub.epoch == 0 {
		s.confirm(sub)
		return
	}
	s.end(sub, nil)
}

// confirm asks for all tokens of a wait anew, which a check answers by one snapshot, or several with no
// doubt between. The caller holds mu.
func (s *waitSet) confirm(sub *Subscription) {
	now := time.Now()
	sub.missing = len(sub.seats)
	for i := range sub.seats {
		s.join(&sub.seats[i], sub.seats[i].barrier.token, now)
	}
	signal(s.wake)
}
