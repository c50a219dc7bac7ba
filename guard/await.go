package guard

import (
	"context"
	"slices"

	"github.com/pgbarrier/pgbarrier"
)

// maxChecked is how many tokens pgbarrier.Check asks for in one statement.
const maxChecked = 10_000

// await decides the waits, as far as the budget and the slots allow.
func (g *Guard) await(ctx context.Context, waits []*wait, hold bool) {
	defer func() {
		for _, w := range waits {
			w.cease()
		}
	}()
	if _, asks := g.waiter.(blocking); hold || !asks { // a wait of that kind asks the database anyway
		for _, w := range waits {
			w.begin()
		}
		if !slices.ContainsFunc(waits, func(w *wait) bool { return !w.ended }) {
			return
		}
	}
	if !hold {
		budget, cancel := context.WithTimeout(ctx, g.config.Budget)
		defer cancel()
		// Not by the budget: what a slow check finds is worth more than the worker's time.
		g.check(ctx, waits)
		if !g.mayWait(budget, waits) {
			return
		}
		if g.slots != nil {
			defer func() { <-g.slots }()
		}
		ctx = budget
	}
	for _, w := range waits {
		w.begin()
	}
	for _, w := range waits {
		w.await(ctx, hold)
	}
}

// mayWait reports whether any of the waits is to go on for the rest of the budget. If so, they have a slot,
// which the caller gives back.
func (g *Guard) mayWait(budget context.Context, waits []*wait) bool {
	if g.slots != nil {
		for _, w := range waits {
			if young > age(w.unsure()) {
				w.begin()
			}
		}
		for _, w := range waits {
			if w.open() {
				w.receive(budget, young-age(w.unsure()))
			}
		}
	}
	if open := slices.ContainsFunc(waits, (*wait).open); !open || g.slots == nil {
		return open
	}
	select {
	case g.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// check asks once about all that has not ended, in one statement if that can be.
func (g *Guard) check(ctx context.Context, waits []*wait) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	for len(waits) > 0 {
		var tokens []pgbarrier.Token
		var asked []*wait
		for len(waits) > 0 {
			w := waits[0]
			// A message's tokens stay together: only one statement tells that all were committed at once.
			if len(tokens) > 0 && len(tokens)+len(w.tokens) > maxChecked {
				break
			}
			if waits = waits[1:]; w.ended {
				continue
			}
			tokens = append(tokens, w.tokens...)
			asked = append(asked, w)
		}
		if len(asked) == 0 {
			return
		}
		statuses, err := g.waiter.Check(ctx, tokens...)
		for _, w := range asked {
			if n := len(w.tokens); len(statuses) >= n {
				w.learn(statuses[:n], err)
				statuses = statuses[n:]
			} else {
				w.learn(nil, err)
			}
		}
	}
}
