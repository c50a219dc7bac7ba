package listener

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// keepPurging purges a few times per retention, and at least hourly, until ctx ends. Any number of processes
// may do so: the server lets one purge at a time, and to the others there is nothing to do.
func keepPurging(ctx context.Context, retention time.Duration, log *slog.Logger, purge func(ctx context.Context) (int64, error)) {
	interval := min(retention/4, time.Hour)
	for {
		// Random, so that processes started together do not purge together.
		sleep(ctx, interval/2+rand.N(interval))
		if ctx.Err() != nil {
			return
		}
		if n, err := purge(ctx); err != nil && ctx.Err() == nil {
			log.Warn("pgbarrier: cannot purge", "error", err)
		} else if n > 0 {
			log.Info("pgbarrier: purged", "barriers", n)
		}
	}
}
