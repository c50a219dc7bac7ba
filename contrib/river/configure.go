package guardriver

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier/guard"
)

// Configure puts g before all work of the client that is made with cfg, and [Inserts] before what it inserts. Call it
// once, and last: it puts both before the Plugins that cfg has by then, which come before River's Middleware.
//
// ctx is the worker's: when it ends, jobs that wait are snoozed, so that Client.Stop need not wait for them, and none is
// hastened any more. End it when you stop the client, and not long before. A client whose ctx never ends waits in
// Stop for guard.Config.Budget at most.
//
// pool leads to River's database, as the one that the client's driver has, and is used to hasten jobs. It remains the
// caller's to close, after the client has stopped.
func Configure(ctx context.Context, cfg *river.Config, g *guard.Guard, pool *pgxpool.Pool) error {
	if cfg == nil || g == nil || pool == nil {
		return errors.New("pgbarrier: river: Configure needs a Config, a Guard and a pool")
	}
	w := &worker{ctx: ctx, guard: g, pool: pool}
	cfg.Plugins = append([]rivertype.Plugin{river.WorkerMiddlewareFunc(w.work), Inserts()}, cfg.Plugins...)
	return nil
}

// worker is one client's side of the guard.
type worker struct {
	ctx   context.Context
	guard *guard.Guard
	pool  *pgxpool.Pool
}
