package guardtest

import (
	"errors"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

func missing(s *scene) {
	s.open(ample)
	s.consume(4)
	m := s.message()
	s.publish(m)
	s.untilRan(1, m.ID)
	s.fence()
	s.ran(1, m.ID)
}

// rejected checks that a message was rejected for that reason, once, and is kept where a person looks.
func (s *scene) rejected(m Message, reason error) {
	s.Helper()
	s.publish(m)
	rejections := func() (n int) {
		tokens, _ := guard.Extract(m.Header)
		decisions := s.others
		if len(tokens) > 0 {
			decisions = s.verdicts[tokens[0]]
		}
		for _, d := range decisions {
			if d.Verdict == guard.Reject && errors.Is(d.Err, reason) {
				n++
			}
		}
		return n
	}
	s.until("the message was rejected: "+reason.Error(), func() bool { return rejections() > 0 })
	s.isDead(m.ID)
	s.fence()
	s.ran(0, m.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := rejections(); n > 1 {
		s.Errorf("a message was rejected %d times: it comes again", n)
	}
	s.others = nil
}

func required(s *scene) {
	s.open(ample)
	s.consume(4, func(c *guard.Config) { c.Require = true })
	s.rejected(s.message(), guard.ErrMissing)
}

func malformed(s *scene) {
	s.open(ample)
	s.consume(4)
	token := s.begin().token.String()
	for _, value := range []string{"nothing like a token", token[:len(token)-1], token + "," + token[:20], token + ","} {
		m := s.message()
		m.Header[guard.Header] = value
		s.rejected(m, pgbarrier.ErrInvalidToken)
	}
}

func foreign(s *scene) {
	s.open(ample)
	s.consume(4)
	t := s.begin()
	t.commit()
	t.token.Origin ^= 1
	m := s.message()
	if err := guard.Add(m.Header, t.token); err != nil {
		s.Fatal(err)
	}
	s.rejected(m, pgbarrier.ErrWrongDatabase)
}

func expired(s *scene) {
	s.open(ample)
	w := s.consume(4)
	t := s.begin()
	m := t.message()
	t.commit()
	s.waiter.expire(t.token)
	s.rejected(m, pgbarrier.ErrExpired)
	s.stop(w)

	s.consume(4, func(c *guard.Config) { c.Expired = guard.Run })
	t = s.begin()
	m = t.message()
	t.commit()
	s.waiter.expire(t.token)
	s.publish(m)
	s.untilRan(1, m.ID)
	s.fence()
	s.ran(1, m.ID)
}
