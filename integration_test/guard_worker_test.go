package integration_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// A memoryWorker is a guarded consumer of a memoryQueue: what an adapter is.
type memoryWorker struct {
	guardtest.Worker
	queue *memoryQueue
	ctx   context.Context // ends when it stops
	alive context.Context // ends when it is killed, or has stopped
	slots chan struct{}   // of a worker that holds: those that handle
}

func (q *memoryQueue) consume(worker guardtest.Worker, holding bool) guardtest.Running {
	alive, kill := context.WithCancel(context.Background())
	ctx, stop := context.WithCancel(alive)
	w := &memoryWorker{Worker: worker, queue: q, ctx: ctx, alive: alive}
	var tasks sync.WaitGroup
	loops := worker.Workers
	if holding {
		loops = 1
		w.slots = make(chan struct{}, worker.Workers)
	}
	for range loops {
		tasks.Go(func() {
			for m := q.take(w); m != nil; m = q.take(w) {
				l := m.lease
				if holding {
					tasks.Go(func() { w.deliver(m, l) })
				} else {
					w.deliver(m, l)
				}
			}
		})
	}
	q.workers.Go(tasks.Wait)
	return guardtest.Running{
		Stop: func() error {
			stop()
			tasks.Wait()
			kill()
			return nil
		},
		Kill: func() {
			kill()
			q.lose(w)
		},
	}
}

func (w *memoryWorker) deliver(m *queued, l *lease) {
	q := w.queue
	if q.broken == ackOnDelivery {
		q.change(func() { q.remove(m) })
	}
	d := w.decide(m, l)
	switch {
	case d.Verdict == guard.Run:
		w.run(m, l)
	case d.Verdict == guard.Drop && q.broken == dropAsFailure, d.Verdict == guard.Reject && q.broken != rejectAsDrop && q.broken != rejectAgain:
		q.settle(m, l, func() { q.bury(m) })
	case d.Verdict == guard.Drop && q.broken != dropAgain, d.Verdict == guard.Reject && q.broken == rejectAsDrop:
		q.settle(m, l, func() { q.remove(m) })
	default:
		w.giveBack(m, l, d)
	}
}

func (w *memoryWorker) decide(m *queued, l *lease) guard.Decision {
	// The wait ends when the worker stops, what it handles does not.
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	if w.queue.broken != stopLate {
		defer context.AfterFunc(w.ctx, cancel)()
	}
	carrier := m.Header
	if d, wrong := w.wrong(&carrier); wrong {
		return d
	}
	var d guard.Decision
	if w.slots != nil || w.queue.broken == waitInWorker {
		d = w.Guard.Hold(ctx, carrier)
	} else {
		d = w.Guard.Decide(ctx, carrier)
	}
	if w.queue.broken == runAtStop && errors.Is(d.Err, guard.ErrShutdown) {
		d.Verdict = guard.Run
	}
	return d
}

func (w *memoryWorker) run(m *queued, l *lease) {
	q := w.queue
	if w.slots != nil {
		w.slots <- struct{}{}
		defer func() { <-w.slots }()
		if l.ctx.Err() != nil {
			return // lost while it waited for a worker
		}
	}
	if q.broken == ackBeforeHandling {
		q.change(func() { q.remove(m) })
	}
	ctx, cancel := l.ctx, func() {}
	if q.broken == budgetOfHandler {
		ctx, cancel = context.WithTimeout(l.ctx, 200*time.Millisecond)
	}
	err := w.Handle(ctx, m.ID)
	cancel()
	q.settle(m, l, func() {
		if err != nil {
			q.fail(m)
			return
		}
		q.remove(m)
	})
}

func (w *memoryWorker) giveBack(m *queued, l *lease, d guard.Decision) {
	q := w.queue
	q.settle(m, l, func() {
		switch last := m.attempt == q.attempts-1; {
		case q.broken == burnAttempts:
			q.fail(m)
		case q.broken == buryOnLastAttempt && last:
			q.bury(m)
		case q.broken == loseAtStop && w.ctx.Err() != nil:
			q.remove(m)
		default:
			m.ready = time.Now().Add(d.After)
		}
	})
	if q.broken != neverHasten {
		w.Guard.Wake(w.ctx, d, func(context.Context) error { return q.hasten(m) })
	}
}
