package guardjetstream

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// beat returns how often the server is told that a message is in progress, four times within the time after which it
// would deliver it again. That is AckWait, or each of BackOff's, which override it (ConsumerConfig.BackOff).
func beat(of jetstream.ConsumerConfig) time.Duration {
	shortest := of.AckWait
	if len(of.BackOff) > 0 {
		shortest = slices.Min(of.BackOff)
	}
	if shortest <= 0 {
		shortest = 30 * time.Second // the server's default
	}
	return max(shortest/4, time.Millisecond)
}

// keepAlive tells the server that messages are in progress, be they held, waiting for a worker, or handled. It ends
// with c.
func (c *consumer) keepAlive() {
	ticker := time.NewTicker(c.beat)
	defer ticker.Stop()
	full := false
	for {
		select {
		case <-ticker.C:
		case <-c.alive.Done():
			return
		}
		c.mu.Lock()
		deliveries := slices.Collect(maps.Values(c.deliveries))
		c.mu.Unlock()
		var failed error
		for _, d := range deliveries {
			if err := d.inProgress(); err != nil {
				failed = err
			}
		}
		if failed != nil {
			c.report(fmt.Errorf("pgbarrier: jetstream: tell that messages are in progress: %w", failed))
		}
		was := full
		if full = c.maxAckPending > 0 && len(deliveries) >= c.maxAckPending; full && !was {
			c.report(ErrAckPendingFull)
		}
	}
}

func (d *delivery) inProgress() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.settled {
		return nil
	}
	return d.msg.InProgress()
}
