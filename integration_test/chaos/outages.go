package main

import (
	"sync"
	"time"
)

// A moment is a time since the run began, by the monotonic clock. Zero is never.
type moment = time.Duration

// outages remembers when the server was down. The zero outages is ready for use.
type outages struct {
	mu   sync.Mutex
	list []outage
}

type outage struct {
	down, up moment // up is zero until the server is back
	crash    bool
}

func (o *outages) begin(now moment, crash bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, outage{down: now, crash: crash})
}

func (o *outages) end(now moment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list[len(o.list)-1].up = now
}

// back returns when the server was last back, zero if it was never down, and whether it is up.
func (o *outages) back() (at moment, up bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.list) == 0 {
		return 0, true
	}
	last := o.list[len(o.list)-1]
	return last.up, last.up != 0
}

// longestUp returns the longest time from a to b in which the server was up all along, and whether it
// was down at any time.
func (o *outages) longestUp(a, b moment) (longest time.Duration, interrupted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := len(o.list) - 1; i >= 0; i-- {
		out := o.list[i]
		if out.up != 0 && out.up < a {
			break
		}
		if out.down > b {
			continue
		}
		interrupted = true
		if out.up != 0 && out.up < b {
			longest = max(longest, b-out.up)
		}
		b = out.down
	}
	return max(longest, b-a), interrupted
}

// crashAfter returns when the server was back from the first crash that may have taken what was
// visible at the moment a.
func (o *outages) crashAfter(a moment) (up moment, crashed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, out := range o.list {
		if out.crash && (out.up == 0 || out.up >= a) {
			return out.up, true
		}
	}
	return 0, false
}
