package guard

import (
	"context"
	"fmt"
	"time"
)

// Config changes how a [Guard] decides. The zero Config is fine.
type Config struct {
	// Budget is how long a message may wait for its transaction in a worker. 2 s by default.
	Budget time.Duration

	// Slots is how many messages may wait in workers at once, so that those of one long transaction do
	// not take all workers. One more is checked once, and then comes later. Half of the workers is a good
	// number. 4 by default; negative, where waiting takes no worker, for any number.
	//
	// A barrier younger than 100 ms needs no slot: most transactions are about to end then.
	Slots int

	// Delay tells when a message that is given back should come again. age is how long ago its barrier
	// was created. By default a quarter of that, between 1 s and 1 min.
	Delay func(age time.Duration) time.Duration

	// GiveUp, if not zero, rejects a message whose barrier a check finds pending that long after it
	// was created: a producer that hangs, or a prepared transaction that somebody forgot. Whether such a
	// transaction commits after all is not known then.
	GiveUp time.Duration

	// Require rejects messages without a barrier. By default they run: they were sent outside of a
	// transaction, or by a producer that does not make barriers yet.
	Require bool

	// Aborted is the verdict about a message whose transaction rolled back: Drop, or Reject to have them
	// kept. Drop by default.
	Aborted Verdict

	// Expired is the verdict about a message whose barrier has been purged, so that nobody knows whether
	// its transaction committed: Run for a handler that looks at the data anyway, Drop or Reject. Reject
	// by default.
	Expired Verdict

	// Observe, if not nil, is told every decision by the goroutine that asked for it.
	Observe func(ctx context.Context, d Decision)
}

const (
	defaultBudget = 2 * time.Second
	defaultSlots  = 4

	minDelay, maxDelay = time.Second, time.Minute

	// young is the age up to which a barrier's message waits without a slot. It bounds what one transaction
	// can take from workers all together, because the age is the transaction's and not the wait's.
	young = 100 * time.Millisecond

	// checkTimeout is how long a check may keep a worker that only asks.
	checkTimeout = 2 * time.Second
)

// complete returns c with its defaults.
func (c Config) complete() (Config, error) {
	if c.Budget < 0 || c.GiveUp < 0 {
		return c, fmt.Errorf("pgbarrier: guard: Budget is %v and GiveUp %v, they cannot be negative", c.Budget, c.GiveUp)
	}
	if c.Budget == 0 {
		c.Budget = defaultBudget
	}
	if c.Slots == 0 {
		c.Slots = defaultSlots
	}
	if c.Delay == nil {
		c.Delay = func(age time.Duration) time.Duration { return min(max(age/4, minDelay), maxDelay) }
	}
	if c.Aborted == 0 {
		c.Aborted = Drop
	}
	if c.Expired == 0 {
		c.Expired = Reject
	}
	if c.Aborted != Drop && c.Aborted != Reject {
		return c, fmt.Errorf("pgbarrier: guard: Aborted is %v, it can be drop or reject", c.Aborted)
	}
	if c.Expired != Run && c.Expired != Drop && c.Expired != Reject {
		return c, fmt.Errorf("pgbarrier: guard: Expired is %v, it can be run, drop or reject", c.Expired)
	}
	return c, nil
}
