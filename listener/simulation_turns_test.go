package listener

import (
	"context"
	"math/rand/v2"
	"testing/synctest"
	"time"
)

// turns makes the listener's goroutines run one at a time, and the simulation's only while all of them
// have stopped: at a call to the server, in a pause, for a notification, or at a trace function. Whose turn
// is next is drawn from the seed, and nothing is left to the runtime.
type turns struct {
	stopped []*turn
}

type turn struct {
	at    time.Time // from then on the goroutine may go on; zero: no time lets it
	ready func() bool
	begin chan struct{}
}

// await stops the calling goroutine until it may go on and its turn has come.
func (t *turns) await(at time.Time, ready func() bool) {
	mine := &turn{at, ready, make(chan struct{})}
	t.stopped = append(t.stopped, mine)
	<-mine.begin
}

// yield lets others go first, perhaps.
func (t *turns) yield() { t.await(time.Now(), func() bool { return true }) }

// pause is a loop's pause.
func (t *turns) pause(ctx context.Context, until time.Time, signal <-chan struct{}) {
	t.await(until, func() bool { return len(signal) > 0 || ctx.Err() != nil })
	select {
	case <-signal:
	default:
	}
}

// take gives a goroutine that may go on its turn, and returns when it has stopped again. It reports whether
// there was one.
func (t *turns) take(rng *rand.Rand) bool {
	now := time.Now()
	chosen, ready := -1, 0
	for i, one := range t.stopped {
		if one.ready() || !one.at.IsZero() && !one.at.After(now) {
			// Each has the same chance.
			if ready++; ready == 1 || rng.IntN(ready) == 0 {
				chosen = i
			}
		}
	}
	if ready == 0 {
		return false
	}
	one := t.stopped[chosen]
	t.stopped = append(t.stopped[:chosen], t.stopped[chosen+1:]...)
	close(one.begin)
	synctest.Wait()
	return true
}

// nextAt returns when a goroutine may go on, if nothing happens before, and at the latest limit.
func (t *turns) nextAt(limit time.Time) time.Time {
	for _, one := range t.stopped {
		if !one.at.IsZero() && one.at.Before(limit) {
			limit = one.at
		}
	}
	return limit
}
