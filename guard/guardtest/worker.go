package guardtest

import (
	"context"
	"time"

	"github.com/pgbarrier/pgbarrier/guard"
)

// A worker is a guarded consumer that the case has started.
type worker struct {
	Running
	killed  chan struct{}
	stopped bool
}

// gone reports whether the worker was killed.
func (w *worker) gone() bool {
	select {
	case <-w.killed:
		return true
	default:
		return false
	}
}

// consume starts a worker, whose guard's configuration change may alter.
func (s *scene) consume(workers int, change ...func(*guard.Config)) *worker {
	s.Helper()
	config := s.adapter.Config
	config.Budget = budget
	if config.Delay == nil {
		config.Delay = func(time.Duration) time.Duration { return delay }
	}
	for _, c := range change {
		c(&config)
	}
	observe := config.Observe
	config.Observe = func(ctx context.Context, d guard.Decision) {
		s.observe(d)
		if observe != nil {
			observe(ctx, d)
		}
	}
	g, err := guard.New(s.waiter.waiter(), config)
	if err != nil {
		s.Fatal(err)
	}
	w := &worker{killed: make(chan struct{})}
	w.Running, err = s.queue.Consume(Worker{
		Guard: g, Workers: workers,
		Handle: func(ctx context.Context, id string) error { return s.handle(ctx, w, id) },
	})
	if err != nil {
		s.Fatal("starting a worker: ", err)
	}
	s.workers = append(s.workers, w)
	return w
}

// stop ends a worker in order, unless it has ended.
func (s *scene) stop(w *worker) {
	s.Helper()
	if w.stopped {
		return
	}
	w.stopped = true
	stopped := make(chan error, 1)
	go func() { stopped <- w.Stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			s.Errorf("stopping a worker: %v", err)
		}
	case <-time.After(s.adapter.patience()):
		s.Errorf("a worker does not stop: it waits for transactions that are pending")
	}
}

// kill ends a worker as if its process were gone: what it still does in this process does not count.
func (s *scene) kill(w *worker) {
	w.stopped = true
	close(w.killed)
	w.Kill()
}

// handle is every worker's handler.
func (s *scene) handle(ctx context.Context, w *worker, id string) error {
	s.mu.Lock()
	hasRow := s.hasRow[id]
	s.mu.Unlock()
	early := hasRow && !s.visible(ctx, id)
	if w.gone() {
		return context.Canceled
	}
	var run int
	var fate func(context.Context, int) error
	s.change(func() {
		if early && ctx.Err() == nil && !s.ended {
			s.Errorf("%s ran, and its transaction's row cannot be read", id)
		}
		s.runs[id] = append(s.runs[id], time.Now())
		run, fate = len(s.runs[id]), s.fate[id]
	})
	if fate != nil {
		if err := fate(ctx, run); err != nil {
			return err
		}
	}
	if !w.gone() {
		s.change(func() { s.finished[id]++ })
	}
	return nil
}

// visible reports whether the row with that id can be read. It asks again while the database is away.
func (s *scene) visible(ctx context.Context, id string) bool {
	for {
		var there bool
		err := s.db.Pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+s.table+" WHERE id = $1)", id).Scan(&there)
		if err == nil || ctx.Err() != nil {
			return there
		}
		time.Sleep(10 * time.Millisecond)
	}
}
