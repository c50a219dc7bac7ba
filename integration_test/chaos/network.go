package main

import (
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier/integration_test/internal/badnet"
)

// A network is a proxy that remembers when it was bad.
type network struct {
	*badnet.Proxy
	now func() moment

	mu      sync.Mutex // guards all below
	bad     moment     // when it was last anything but good
	ongoing int        // troubles that last
}

func (n *network) note(change int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bad = n.now()
	n.ongoing += change
}

// good returns since when the network has been good, zero if always, and whether it is now. What was
// swallowed goes on to be: it is for the listener to find that out.
func (n *network) good() (since moment, now bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bad, n.ongoing == 0
}

func (n *network) swallow(reap time.Duration) (found bool) {
	defer n.note(0)
	return n.Swallow(reap) > 0
}

func (n *network) reset() (found bool) {
	defer n.note(0)
	return n.Cut() > 0
}

// refuse resets all connections and lets none be made until the function that it returns is called.
func (n *network) refuse() (undo func()) {
	n.note(1)
	n.Refuse(true)
	n.Cut()
	return func() {
		n.Refuse(false)
		n.note(-1)
	}
}

func (n *network) slow(latency time.Duration) (undo func()) {
	n.note(1)
	n.Slow(latency, 0)
	return func() {
		n.Slow(0, 0)
		n.note(-1)
	}
}
