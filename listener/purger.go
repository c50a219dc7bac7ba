package listener

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// A purger deletes old barriers in the background. Any number of processes may have one: the server
// lets one purge at a time, and to the others there is nothing to do.
type purger struct {
	purge     func(ctx context.Context) (int64, error)
	retention time.Duration
	log       *slog.Logger
}

// run purges a few times per retention, and at least hourly, until ctx ends.
func (p *purger) run(ctx context.Context) {
	interval := min(p.retention/4, time.Hour)
	for {
		// Random, so that processes started together do not purge together.
		sleep(ctx, interval/2+rand.N(interval))
		if ctx.Err() != nil {
			return
		}
		switch n, err := p.purge(ctx); {
		case ctx.Err() != nil:
		case err != nil:
			p.log.Warn("pgbarrier: cannot purge", "error", err)
		case n > 0:
			p.log.Info("pgbarrier: purged", "barriers", n)
		}
	}
}
