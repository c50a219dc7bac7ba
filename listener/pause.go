package listener

import (
	"context"
	"time"
)

// A pause is how a loop of the listener waits when it waits for no connection: until signal has
// something (it is taken out), the time has come, or ctx ends. A nil signal never has, the zero time
// never comes. It is a field of each loop, so that a simulation decides whose turn it is.
type pause func(ctx context.Context, until time.Time, signal <-chan struct{})

// untilReady is the pause of a listener that is not simulated.
func untilReady(ctx context.Context, until time.Time, signal <-chan struct{}) {
	var ring <-chan time.Time
	if !until.IsZero() {
		alarm := time.NewTimer(time.Until(until))
		defer alarm.Stop()
		ring = alarm.C
	}
	select {
	case <-ctx.Done():
	case <-signal:
	case <-ring:
	}
}

func sleep(ctx context.Context, d time.Duration) { untilReady(ctx, time.Now().Add(d), nil) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // a signal is waiting already
	}
}
