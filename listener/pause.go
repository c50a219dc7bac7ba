package listener

import (
	"context"
	"time"
)

// A pause lasts until signal has something (it is taken out; nil never has), the time has come (the zero time
// never does), or ctx ends. It is a field of each loop, so that a simulation decides whose turn it is.
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
