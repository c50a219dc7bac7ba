package guardtest

import (
	"context"
	"errors"
	"time"

	"github.com/pgbarrier/pgbarrier/guard"
)

func declared(s *scene) {
	s.open(ample)
	w := s.consume(1)
	for _, feature := range s.adapter.undeclared(s.db, s.queue, w.Running) {
		s.Errorf("%s is neither there nor declared in Lacks, with the reason", feature)
	}
}

func commit(s *scene) {
	s.open(ample)
	s.consume(4)
	t := s.begin()
	id := t.send()
	s.untilAsked(t)
	s.ran(0, id)
	t.commit()
	s.untilRan(1, id)

	// The time to wait is not the handler's.
	ended := s.begin()
	m := ended.message()
	s.change(func() {
		s.fate[m.ID] = func(ctx context.Context, _ int) error {
			time.Sleep(2 * budget)
			if ctx.Err() != nil {
				s.Errorf("the context of a handler that ran for %v has ended: %v", 2*budget, ctx.Err())
			}
			return nil
		}
	})
	ended.commit()
	s.publish(m)
	s.untilRan(1, m.ID)
	s.fence()
	s.ran(1, id, m.ID)
	s.isNotDead(id, m.ID)
}

// dropped checks that the messages of a transaction that rolled back are gone, for good and without a fuss.
func (s *scene) dropped(t *transaction, ids ...string) {
	s.Helper()
	s.untilDecided(t, guard.Drop)
	s.until("all of the transaction's messages were dropped", func() bool { return s.drops(t) >= len(ids) })
	s.fence()
	s.ran(0, ids...)
	s.isNotDead(ids...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.drops(t); n > len(ids) {
		s.Errorf("%d messages were dropped %d times: they come again", len(ids), n)
	}
}

// drops is called with mu held.
func (s *scene) drops(t *transaction) (n int) {
	for _, d := range s.verdicts[t.token] {
		if d.Verdict == guard.Drop {
			n++
		}
	}
	return n
}

func rollback(s *scene) {
	s.open(ample)
	before := s.begin() // ends before the worker comes
	early := before.send()
	before.rollback()
	s.consume(4)
	s.dropped(before, early)
	t := s.begin()
	var ids []string
	for range 20 {
		ids = append(ids, t.send())
	}
	s.untilAsked(t)
	t.rollback()
	s.dropped(t, ids...)
}

func savepoint(s *scene) {
	s.open(ample)
	s.consume(4)
	t := s.begin()
	outer := t.send()
	lost := t.savepoint()
	dropped := lost.send(func(m *Message) { m.Key = "lost" }) // not behind outer, where the order is kept
	kept := t.savepoint()
	s.untilAsked(lost)
	kept.rollback()
	lost.rollback()
	kept = t.savepoint()
	inner := kept.send()
	kept.commit() // RELEASE
	t.commit()
	s.dropped(lost, dropped)
	s.untilRan(1, outer, inner)
	s.fence()
	s.ran(1, outer, inner)
}

func producerKilled(s *scene) {
	s.open(ample)
	s.consume(4)
	t := s.begin()
	id := t.send()
	s.untilAsked(t)
	if _, err := s.db.Pool.Exec(s.ctx, "SELECT pg_terminate_backend($1)", t.Conn().PgConn().PID()); err != nil {
		s.Fatal(err)
	}
	s.dropped(t, id)
}

var errHandler = errors.New("guardtest: the handler fails")

func redelivery(s *scene) {
	s.open(ample)
	s.consume(4)
	t := s.begin()
	m := t.message()
	s.fails(m.ID, 1)
	s.publish(m)
	s.untilAsked(t)
	t.commit()
	s.untilRan(1, m.ID)
	s.fence()
	s.ran(2, m.ID)
}

// fails makes the first runs of a message fail.
func (s *scene) fails(id string, times int) {
	s.change(func() {
		s.fate[id] = func(_ context.Context, run int) error {
			if run <= times {
				return errHandler
			}
			return nil
		}
	})
}

func several(s *scene) {
	s.open(ample)
	s.consume(4)
	t := s.begin()
	var ids []string
	for range 8 {
		ids = append(ids, t.send())
	}
	s.untilAsked(t)
	t.commit()
	s.untilRan(1, ids...)
	s.fence()
	s.ran(1, ids...)
}

func twoTransactions(s *scene) {
	s.open(ample)
	s.consume(4)
	both := func(first, second *transaction) string {
		s.Helper()
		m := first.message()
		if err := guard.Add(m.Header, second.token); err != nil {
			s.Fatal(err)
		}
		s.publish(m)
		return m.ID
	}
	first, second, third := s.begin(), s.begin(), s.begin()
	id, lost := both(first, second), both(first, third)
	s.untilAsked(first)
	first.commit()
	time.Sleep(3 * budget) // it is pending for longer than a worker waits, with one of two committed
	s.ran(0, id, lost)
	third.rollback()
	second.commit()
	s.untilRan(1, id)
	s.dropped(third, lost)
	s.ran(1, id)
}
