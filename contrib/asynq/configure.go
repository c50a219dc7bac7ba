package guardasynq

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/pgbarrier/pgbarrier/guard"
)

// Configure prepares cfg for guarded handlers and returns their middleware. The two belong together: without
// this cfg, every task that is handed back would count as failed.
//
// It wraps IsFailure, RetryDelayFunc, ErrorHandler and GroupAggregator, with what cfg has by then, or asynq's defaults.
// So set your own before, and call it once for each server.
//
// The middleware has to be the first of the mux (mux.Use), or stand around the server's handler: middleware outside
// of it sees tasks that are handed back as errors, and a group needs it for types that no handler is registered for.
//
// ctx is the worker's: when it ends, tasks that wait are handed back at once, and none is hastened any more. Take
// one from signal.NotifyContext with Server.Run; else end it before Server.Shutdown. A server whose ctx never ends
// waits in Shutdown for guard.Config.Budget at most.
//
// rdb is the server's redis, and remains the caller's to close, after Server.Shutdown. It is used to hasten tasks by
// asynq's Inspector.
func Configure(ctx context.Context, cfg *asynq.Config, g *guard.Guard, rdb redis.UniversalClient) (asynq.MiddlewareFunc, error) {
	if cfg == nil || g == nil || rdb == nil {
		return nil, errors.New("pgbarrier: asynq: Configure needs a Config, a Guard and a redis client")
	}
	w := &worker{
		ctx: ctx, guard: g, inspector: asynq.NewInspectorFromRedisClient(rdb), client: asynq.NewClientFromRedisClient(rdb),
		aggregator: cfg.GroupAggregator,
	}

	isFailure := cfg.IsFailure
	cfg.IsFailure = func(err error) bool {
		switch {
		case isHandBack(err):
			return false
		case isFailure != nil:
			return isFailure(err)
		}
		return err != nil
	}

	delay := cfg.RetryDelayFunc
	if delay == nil {
		delay = asynq.DefaultRetryDelayFunc
	}
	cfg.RetryDelayFunc = func(n int, err error, task *asynq.Task) time.Duration {
		var back *handBack
		if errors.As(err, &back) {
			return back.After
		}
		return delay(n, err, task)
	}

	if handler := cfg.ErrorHandler; handler != nil {
		cfg.ErrorHandler = asynq.ErrorHandlerFunc(func(ctx context.Context, task *asynq.Task, err error) {
			if !isHandBack(err) && !isDrop(err) {
				handler.HandleError(ctx, task, err)
			}
		})
	}

	if cfg.GroupAggregator != nil {
		cfg.GroupAggregator = asynq.GroupAggregatorFunc(w.aggregate)
	}
	return w.middleware, nil
}

// worker is one server's side of the guard.
type worker struct {
	ctx        context.Context
	guard      *guard.Guard
	inspector  *asynq.Inspector
	client     *asynq.Client
	aggregator asynq.GroupAggregator // the user's; nil: there are no groups
}

func (w *worker) middleware(next asynq.Handler) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		if _, ok := task.Headers()[groupHeader]; ok {
			return w.endGroup(ctx, task)
		}
		if err := w.admit(ctx, task); err != nil {
			return err
		}
		return next.ProcessTask(ctx, task)
	})
}
