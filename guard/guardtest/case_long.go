package guardtest

import (
	"context"
	"time"

	"github.com/pgbarrier/pgbarrier/guard"
)

// long is a transaction that outlasts the budget many times: messages of it are given back several times.
const long = 3 * time.Second

func longer(s *scene) {
	s.open(3)
	s.consume(4)
	t := s.begin()
	var ids []string
	for range 3 {
		m := t.message()
		s.fails(m.ID, 2) // all of its attempts but the last
		s.publish(m)
		ids = append(ids, m.ID)
	}
	s.untilAsked(t)
	time.Sleep(long)
	s.ran(0, ids...)
	t.commit()
	s.untilRan(1, ids...)
	s.fence()
	s.ran(3, ids...)
	s.isNotDead(ids...)
}

func least(s *scene) {
	s.open(s.adapter.leastAttempts())
	s.consume(4)
	t, lost := s.begin(), s.begin()
	id, dropped := t.send(), lost.send()
	s.untilAsked(t)
	time.Sleep(long)
	s.ran(0, id, dropped)
	t.commit()
	lost.rollback()
	s.untilRan(1, id)
	s.dropped(lost, dropped)
	s.ran(1, id)
	s.isNotDead(id)
}

// The message has been handled, and failed; now, on its last attempt, nobody can say whether its transaction has
// committed, as after a failover.
func last(s *scene) {
	attempts := s.adapter.leastAttempts() + 1
	s.open(attempts)
	s.consume(4)
	t := s.begin()
	m := t.message()
	t.commit()
	s.change(func() {
		s.fate[m.ID] = func(_ context.Context, run int) error {
			switch {
			case run < attempts-1:
				return errHandler
			case run == attempts-1:
				s.waiter.hide(t.token)
				return errHandler
			}
			return nil
		}
	})
	s.publish(m)
	s.until("all attempts but one have failed", func() bool { return len(s.runs[m.ID]) == attempts-1 })
	s.until("the last attempt came", func() bool { return s.hidden[t.token] })
	time.Sleep(long / 2)
	s.ran(attempts-1, m.ID)
	s.waiter.show(t.token)
	s.untilRan(1, m.ID)
	s.fence()
	s.ran(attempts, m.ID)
	s.isNotDead(m.ID)
}

func triedAgain(s *scene) {
	s.open(ample)
	s.consume(4)
	for i := range 3 {
		business := s.name + "-order-" + string(rune('a'+i))
		dedup := func(t *transaction, id string) func(*Message) {
			return func(m *Message) { m.ID, m.Business, m.DedupID = id, business, guard.DedupID(business, t.token) }
		}
		first := s.begin()
		lost := first.send(dedup(first, business+"-lost"))
		if i > 0 {
			s.untilAsked(first)
		}
		first.rollback()
		if i > 1 {
			s.untilDecided(first, guard.Drop)
		}
		second := s.begin()
		m := second.message(dedup(second, business))
		s.publish(m)
		if s.adapter.has(Deduplication) {
			s.publish(m) // the producer did not see the answer
		}
		second.commit()
		s.untilRan(1, m.ID)
		s.fence()
		s.ran(1, m.ID)
		s.ran(0, lost)
	}
}
