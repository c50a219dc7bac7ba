package guardtest

import (
	"context"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier/guard"
)

// running sends a message whose handler goes on until release is called, once, and waits until it does.
func (s *scene) running(key string) (id string, release func()) {
	s.Helper()
	t := s.begin()
	m := t.message(func(m *Message) { m.Key = key })
	released := make(chan struct{})
	s.change(func() {
		s.fate[m.ID] = func(context.Context, int) error {
			<-released
			return nil
		}
	})
	release = sync.OnceFunc(func() { close(released) })
	s.Cleanup(release)
	t.commit()
	s.publish(m)
	s.until("a handler runs", func() bool { return len(s.runs[m.ID]) > 0 })
	return m.ID, release
}

func workerKilled(s *scene) {
	s.open(ample)
	// Some of the messages wait in the worker, and some were given back.
	w := s.consume(4, func(c *guard.Config) { c.Budget = 2 * long })
	running, release := s.running("running")
	t := s.begin()
	var ids []string
	for range 5 {
		ids = append(ids, t.send())
	}
	s.untilAsked(t)
	s.kill(w)
	release()
	s.consume(4)
	t.commit()
	s.untilRan(1, append(ids, running)...)
	s.fence()
	s.ran(1, ids...)
	s.isNotDead(append(ids, running)...)
}

func brokerRestarted(s *scene) {
	s.open(ample)
	// Some of the messages wait in the worker, and some were given back.
	s.consume(4, func(c *guard.Config) { c.Budget = 2 * long })
	t, lost := s.begin(), s.begin()
	var ids []string
	for range 5 {
		ids = append(ids, t.send())
	}
	dropped := lost.send()
	s.untilAsked(t)
	time.Sleep(2 * budget)
	ctx, cancel := context.WithTimeout(s.ctx, s.adapter.patience())
	defer cancel()
	if err := s.adapter.Restart(ctx); err != nil {
		s.Fatal("restarting the broker: ", err)
	}
	after := s.begin()
	m := after.message()
	s.publishUntil(m)
	after.commit()
	s.ran(0, append(ids, dropped)...)
	lost.rollback()
	t.commit()
	s.untilRan(1, append(ids, m.ID)...)
	s.untilDecided(lost, guard.Drop)
	s.fence()
	s.ran(0, dropped)
	s.isNotDead(append(ids, m.ID, dropped)...)
}

func databaseRestarted(s *scene) {
	s.open(ample)
	s.consume(4)
	committed, lost := s.begin(), s.begin()
	m := committed.message()
	dropped := lost.send() // the restart ends its session
	s.untilAsked(lost)
	committed.commit()
	ctx, cancel := context.WithTimeout(s.ctx, s.adapter.patience())
	defer cancel()
	restarted := make(chan error, 1)
	go func() { restarted <- s.db.Restart(ctx) }()
	s.publish(m) // while the database is away, or nearly
	if err := <-restarted; err != nil {
		s.Fatal("restarting the database: ", err)
	}
	s.untilRan(1, m.ID)
	s.untilDecided(lost, guard.Drop)
	s.untilConnected()
	s.fence()
	s.ran(1, m.ID)
	s.ran(0, dropped)
	s.isNotDead(m.ID, dropped)
}

// untilConnected waits until the pool has no connection left that the restart has broken.
func (s *scene) untilConnected() {
	s.Helper()
	s.db.Pool.Reset()
	for deadline := time.Now().Add(s.adapter.patience()); ; time.Sleep(50 * time.Millisecond) {
		err := s.db.Pool.Ping(s.ctx)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatal("the database is not back: ", err)
		}
	}
}

func stopped(s *scene) {
	s.open(ample)
	w := s.consume(4, func(c *guard.Config) { c.Budget = time.Hour }) // what waits does so until the worker stops
	running, release := s.running("running")
	t, lost := s.begin(), s.begin()
	var ids []string
	for range 5 {
		ids = append(ids, t.send())
	}
	s.untilAsked(t)
	dropped := lost.send(func(m *Message) { m.Key = "lost" })
	time.AfterFunc(budget, release) // the handler ends while the worker stops
	s.stop(w)
	s.ran(0, ids...)
	lost.rollback()
	s.consume(4)
	t.commit()
	s.untilRan(1, append(ids, running)...)
	s.dropped(lost, dropped)
	s.ran(1, ids...)
	s.isNotDead(append(ids, running)...)
}
