package integration_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// A memoryQueue is a broker's queue, as simple as one can be that counts attempts, delays, dead-letters, drops
// duplicates, and takes back what a worker held that is gone.
type memoryQueue struct {
	attempts int
	broken   fault // what is wrong with the adapter, or nothing

	mu       sync.Mutex
	changed  chan struct{} // closed, and replaced, whenever something is
	messages []*queued
	seen     map[string]bool // deduplication ids
	dead     []string
	down     bool
	workers  sync.WaitGroup
}

// queued is a message that is not done with.
type queued struct {
	guardtest.Message
	attempt int // that have failed
	ready   time.Time
	lease   *lease // nil: nobody has it
}

// A lease is a delivery. ctx ends when it is lost.
type lease struct {
	ctx    context.Context
	cancel context.CancelFunc
	to     *memoryWorker
}

var errDown = errors.New("the broker is down")

func (q *memoryQueue) change(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f()
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *memoryQueue) publish(_ context.Context, m guardtest.Message) (err error) {
	id := m.DedupID
	if q.broken == dedupByBusiness {
		id = m.Business
	}
	if q.broken == noDedup {
		id = ""
	}
	if q.broken == oneBarrierPerTransaction {
		m.Header = q.firstOf(m.Header)
	}
	if q.broken == oncePerBarrier {
		id = m.Header[guard.Header]
	}
	q.change(func() {
		switch {
		case q.down:
			err = errDown
		case id != "" && q.seen[id]:
		default:
			q.seen[id] = true
			q.messages = append(q.messages, &queued{Message: m})
		}
	})
	return err
}

// firstOf returns the header of the first message of the same transaction.
func (q *memoryQueue) firstOf(header guard.Map) guard.Map {
	tokens, err := guard.Extract(header)
	if err != nil || len(tokens) == 0 {
		return header
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.messages {
		if others, _ := guard.Extract(m.Header); len(others) > 0 && others[0].XID == tokens[0].XID {
			return m.Header
		}
	}
	return header
}

// take returns the next message, when there is one, and nil if the worker ends.
func (q *memoryQueue) take(w *memoryWorker) *queued {
	for {
		next := time.Hour
		q.mu.Lock()
		for _, m := range q.messages {
			wait := time.Until(m.ready)
			if m.lease != nil || q.down {
				continue
			}
			if wait <= 0 && w.ctx.Err() == nil {
				m.lease = &lease{to: w}
				m.lease.ctx, m.lease.cancel = context.WithCancel(w.alive)
				q.mu.Unlock()
				return m
			}
			next = min(next, wait)
		}
		changed := q.changed
		q.mu.Unlock()
		timer := time.NewTimer(next)
		select {
		case <-changed:
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// settle ends a delivery, unless the lease was lost.
func (q *memoryQueue) settle(m *queued, l *lease, f func()) {
	q.change(func() {
		if m.lease == l && !q.down {
			m.lease = nil
			f()
		}
	})
	l.cancel()
}

// remove, bury and back are called by settle's f.
func (q *memoryQueue) remove(m *queued) {
	q.messages = slices.DeleteFunc(q.messages, func(other *queued) bool { return other == m })
}

func (q *memoryQueue) bury(m *queued) {
	q.remove(m)
	q.dead = append(q.dead, m.ID)
}

func (q *memoryQueue) fail(m *queued) {
	if m.attempt++; m.attempt >= q.attempts {
		q.bury(m)
		return
	}
	m.ready = time.Now().Add(20 * time.Millisecond)
}

// hasten makes a message ready that was given back. It is an error while a worker has it.
func (q *memoryQueue) hasten(m *queued) (err error) {
	q.change(func() {
		if m.lease != nil {
			err = errors.New("the message is with a worker")
			return
		}
		m.ready = time.Now()
	})
	return err
}

// lose ends the leases of a worker, or of all, as a broken connection does.
func (q *memoryQueue) lose(of *memoryWorker) {
	q.change(func() {
		for _, m := range slices.Clone(q.messages) {
			if m.lease == nil || of != nil && m.lease.to != of {
				continue
			}
			m.lease.cancel()
			if m.lease = nil; of == nil && q.broken == forgetAtRestart {
				q.remove(m)
			}
		}
	})
}

func (q *memoryQueue) deadLetters(context.Context) ([]string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.dead), nil
}

// memoryBroker is the broker of one test's queues.
type memoryBroker struct {
	holding bool // a wait takes no worker, and nothing is given back
	push    bool // messages are delivered by HTTP
	broken  fault

	mu     sync.Mutex
	queues []*memoryQueue
}

func (b *memoryBroker) adapter() guardtest.Adapter {
	config := guard.Config{Slots: 2}
	return guardtest.Adapter{Open: b.open, Restart: b.restart, Config: config, Lacks: map[guardtest.Feature]string{
		guardtest.DatabaseRestart: "the server is shared by other tests",
	}}
}

func (b *memoryBroker) open(t testing.TB, _ string, attempts int) guardtest.Queue {
	q := &memoryQueue{attempts: attempts, broken: b.broken, changed: make(chan struct{}), seen: map[string]bool{}}
	b.mu.Lock()
	b.queues = append(b.queues, q)
	b.mu.Unlock()
	t.Cleanup(q.workers.Wait)
	return guardtest.Queue{
		Publish: q.publish,
		Consume: func(w guardtest.Worker) (guardtest.Running, error) {
			if b.push {
				return q.serve(w)
			}
			return q.consume(w, b.holding), nil
		},
		Dead: q.deadLetters,
	}
}

func (b *memoryBroker) restart(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.queues {
		q.change(func() { q.down = true })
		q.lose(nil)
	}
	time.Sleep(100 * time.Millisecond)
	for _, q := range b.queues {
		q.change(func() { q.down = false })
	}
	return nil
}
