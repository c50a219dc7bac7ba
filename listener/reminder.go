package listener

import (
	"log/slog"
	"sync"
	"time"
)

// remindAfter is for how long a wait may last before Run was called.
const remindAfter = 10 * time.Second

// A reminder logs, once, that waits wait for a Run that was forgotten.
type reminder struct {
	waits *waitSet
	log   *slog.Logger

	mu    sync.Mutex
	timer *time.Timer // nil: none runs
	over  bool        // Run was called, or it has been logged
}

// start is called when a wait has begun.
func (r *reminder) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over && r.timer == nil {
		r.timer = time.AfterFunc(remindAfter, r.look)
	}
}

func (r *reminder) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = nil
	if r.over {
		return
	}
	switch oldest := r.waits.oldest(); {
	case oldest.IsZero():
	case time.Since(oldest) < remindAfter:
		r.timer = time.AfterFunc(remindAfter-time.Since(oldest), r.look)
	default:
		r.over = true
		r.log.Warn("pgbarrier: waits have waited for 10 s, and Listener.Run was never called")
	}
}

// stop is called by Run.
func (r *reminder) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}
