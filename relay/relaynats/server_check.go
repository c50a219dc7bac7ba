package relaynats

import (
	"context"
)

// asked is a check that is under way. Its client may repeat it meanwhile.
type asked struct {
	inbox string
	id    uint64
}

// check asks the database once, beside all else.
func (s *server) check(inbox string, c check) {
	key := asked{inbox, c.id}
	s.mu.Lock()
	_, known := s.checks[key]
	full := len(s.checks) >= s.config.MaxChecks
	if !known && !full {
		s.checks[key] = struct{}{}
	}
	s.mu.Unlock()
	switch {
	case known:
		return
	case full:
		s.reply(inbox, checked{id: c.id}.encode())
		return
	}
	s.work.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, checkTimeout)
		defer cancel()
		statuses, err := s.relay.Check(ctx, c.tokens...)
		if err != nil {
			statuses = nil
		}
		s.mu.Lock()
		delete(s.checks, key)
		s.mu.Unlock()
		s.reply(inbox, checked{c.id, statuses}.encode())
	})
}
