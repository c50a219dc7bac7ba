package guard

import (
	"context"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

const minFindPause, maxFindPause = 50 * time.Millisecond, time.Second

// Wait waits in the database of each token.
func (m *mux) Wait(ctx context.Context, tokens ...pgbarrier.Token) error {
	pause := minFindPause
	for {
		shares, unknown := m.split(tokens)
		if len(shares) == 1 && unknown == nil {
			return shares[0].waiter.Wait(ctx, tokens...)
		}
		if unknown == nil && len(tokens) > 0 {
			if err := waitForAll(ctx, shares); err != nil {
				return err
			}
		}
		// The commits of several databases were found one after the other, and a crash of one server since may
		// have undone one that was visible and not yet durable.
		statuses, err := m.Check(ctx, tokens...)
		open := err != nil
		for i, status := range statuses {
			if bad := status.Err(tokens[i]); bad != nil {
				return bad
			}
			open = open || status == pgbarrier.Pending
		}
		if !open {
			return nil
		}
		if _, stillUnknown := m.split(tokens); stillUnknown == nil && err == nil && unknown != nil {
			continue // found: wait there
		}
		sleep(ctx, pause)
		if pause = min(2*pause, maxFindPause); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// waitForAll returns nil once all shares are committed, and the first other outcome.
func waitForAll(ctx context.Context, shares []*share) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(shares))
	for _, s := range shares {
		go func() { ended <- s.waiter.Wait(ctx, s.tokens...) }()
	}
	var first error
	for range shares {
		if err := <-ended; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// funcMux is a mux whose waiters all have WaitFunc.
type funcMux struct{ *mux }

func (m funcMux) WaitFunc(f func(error), tokens ...pgbarrier.Token) (stop func()) {
	shares, unknown := m.split(tokens)
	switch {
	case unknown != nil:
		return blocking{m.mux}.WaitFunc(f, tokens...)
	case len(shares) == 1:
		return shares[0].waiter.(FuncWaiter).WaitFunc(f, tokens...)
	}
	w := &muxWait{f: f, missing: len(shares)}
	for _, s := range shares {
		w.add(s.waiter.(FuncWaiter).WaitFunc(func(err error) {
			if w.heard(err) {
				// All seem to be committed. Wait's last check needs a goroutine.
				w.add(blocking{m.mux}.WaitFunc(w.end, tokens...))
			}
		}, s.tokens...))
	}
	return w.stop
}

// A muxWait is a wait in several databases.
type muxWait struct {
	f func(error)

	mu      sync.Mutex
	missing int // shares that have not ended
	over    bool
	stops   []func()
}

// add takes the stop of a wait that has begun.
func (w *muxWait) add(stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		go stop() // this may be a callback, which must not call it
		return
	}
	w.stops = append(w.stops, stop)
}

// heard takes how one share has ended, and reports whether it was the last and all are committed.
func (w *muxWait) heard(err error) bool {
	w.mu.Lock()
	w.missing--
	all := w.missing == 0 && err == nil && !w.over
	failed := err != nil && !w.over
	w.over = w.over || failed
	stops := w.stops
	w.mu.Unlock()
	if failed {
		go runAll(stops) // not here, in a callback
		w.f(err)
	}
	return all
}

func (w *muxWait) end(err error) {
	w.mu.Lock()
	over := w.over
	w.over, w.stops = true, nil // all of them have ended
	w.mu.Unlock()
	if !over {
		w.f(err)
	}
}

func (w *muxWait) stop() {
	w.mu.Lock()
	stops := w.stops
	w.over, w.stops = true, nil
	w.mu.Unlock()
	runAll(stops)
}
