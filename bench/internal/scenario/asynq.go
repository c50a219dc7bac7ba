package scenario

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	guardasynq "github.com/pgbarrier/pgbarrier/contrib/asynq"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
	"github.com/pgbarrier/pgbarrier/listener"
)

const (
	rowUnguarded = "no barrier, no guard"
	rowUnheard   = "pgbarrier, not heard of"

	metricTasks = "tasks/s"

	asynqQueue   = "bench"
	asynqWorkers = 10
)

// runAsynq: a worker finds its queue full. Handlers do nothing, so that what is measured is asynq, and the guard: each
// task has a barrier of its own, which has committed. The listener has just heard of that, as it mostly does; or it
// never has, as after a pause, and the guard has to ask.
func runAsynq(ctx context.Context, l *Lab) (err error) {
	db, err := l.database(ctx, contender.Named(contender.NamePgbarrier))
	if err != nil {
		return err
	}
	defer db.Pool.Reset()
	broker, err := devbroker.Open(ctx, devbroker.Redis)
	if err != nil {
		return err
	}
	defer func() { _ = broker.Close() }() // measured already
	options, err := redis.ParseURL(broker.URL)
	if err != nil {
		return err
	}
	options.PoolSize = 4 * asynqWorkers
	rdb := redis.NewClient(options)
	defer func() { _ = rdb.Close() }()

	n := pick(l.Options, 5000, 200)
	about := fmt.Sprintf("%s tasks in the queue, %d workers, handlers that do nothing, barriers that have committed", report.Thousands(n), asynqWorkers)
	table := l.Report.Table("asynq", about, rowUnguarded, contender.NamePgbarrier, rowUnheard)
	return l.turns(table, func(_ int, row *report.Row) error {
		if err := l.settle(ctx, db); err != nil {
			return err
		}
		var tokens []pgbarrier.Token
		if row.Name != rowUnguarded {
			if tokens, err = committedTokens(ctx, db, n); err != nil {
				return err
			}
		}
		if err := enqueue(ctx, rdb, n, tokens); err != nil {
			return err
		}
		return handleTasks(ctx, db, rdb, n, tokens, row)
	})
}

// enqueue fills the queue with n tasks, each with one of the tokens, if there are any.
func enqueue(ctx context.Context, rdb *redis.Client, n int, tokens []pgbarrier.Token) error {
	client := asynq.NewClientFromRedisClient(rdb)
	var g errgroup.Group
	g.SetLimit(asynqWorkers)
	for i := range n {
		g.Go(func() error {
			headers := guard.Map{}
			if tokens != nil {
				if err := guard.Add(headers, tokens[i]); err != nil {
					return err
				}
			}
			_, err := client.EnqueueContext(ctx, asynq.NewTaskWithHeaders("bench", nil, headers), asynq.Queue(asynqQueue))
			return err
		})
	}
	return g.Wait()
}

// handleTasks runs a worker until it has handled n tasks.
func handleTasks(ctx context.Context, db *Database, rdb *redis.Client, n int, tokens []pgbarrier.Token, row *report.Row) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cfg := asynq.Config{Concurrency: asynqWorkers, Queues: map[string]int{asynqQueue: 1}, LogLevel: asynq.FatalLevel}
	guarded := func(next asynq.Handler) asynq.Handler { return next }
	checks := func() uint64 { return 0 }
	if tokens != nil {
		w, err := contender.StartListener(ctx, db.URL, listener.Config{})
		if err != nil {
			return err
		}
		defer func() { _ = w.Close() }() // measured already
		g, err := guard.New(w, guard.Config{Slots: asynqWorkers / 2})
		if err != nil {
			return err
		}
		middleware, err := guardasynq.Configure(ctx, &cfg, g, rdb)
		if err != nil {
			return err
		}
		if row.Name == contender.NamePgbarrier {
			if err := announce(ctx, db, w, tokens); err != nil {
				return err
			}
		}
		guarded, checks = middleware, func() uint64 { return w.Stats().Checks }
	}

	var handled atomic.Int64
	all := make(chan time.Time, 1)
	server := asynq.NewServerFromRedisClient(rdb, cfg)
	begun := time.Now()
	err := server.Start(guarded(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if handled.Add(1) == int64(n) {
			all <- time.Now()
		}
		return nil
	})))
	if err != nil {
		return err
	}
	defer server.Shutdown()
	defer stop()
	select {
	case ended := <-all:
		row.Add(metricTasks, float64(n)/ended.Sub(begun).Seconds())
		row.Add("checks", float64(checks()))
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return fmt.Errorf("%d of %d tasks were handled in a minute", handled.Load(), n)
	}
}

// announce tells the listener of the tokens as their commits would have, and returns when it has heard all.
func announce(ctx context.Context, db *Database, w *contender.ListenerWorker, tokens []pgbarrier.Token) error {
	texts := make([]string, len(tokens))
	for i, t := range tokens {
		texts[i] = t.String()
	}
	heard := w.Stats().Announcements
	if _, err := db.Pool.Exec(ctx, "SELECT pg_notify($1, t) FROM unnest($2::text[]) AS t", listener.Channel, texts); err != nil {
		return err
	}
	for w.Stats().Announcements < heard+uint64(len(tokens)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}
