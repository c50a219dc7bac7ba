// The example shows a guarded asynq worker beside a transaction that commits and one that rolls back. It starts
// PostgreSQL and redis by itself, or takes the redis that DEVBROKER_REDIS_URL names:
//
//	go run ./contrib/asynq/example
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/pgbarrier/pgbarrier"
	guardasynq "github.com/pgbarrier/pgbarrier/contrib/asynq"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const queue = "pgbarrier-example"

// pause is the time to read along before a transaction ends.
var pause = 3 * time.Second

var (
	began = time.Now()
	story = log.New(os.Stdout, "", 0)
)

func say(format string, args ...any) {
	story.Printf("%5.1f s  %s", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

func run(ctx context.Context) error {
	server, err := devpg.Start(ctx, devpg.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	broker, err := devbroker.Open(ctx, devbroker.Redis)
	if err != nil {
		return err
	}
	defer func() { _ = broker.Close() }()

	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := pgbarrier.Migrate(ctx, pool); err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, "CREATE TABLE orders (name text)"); err != nil {
		return err
	}
	options, err := redis.ParseURL(broker.URL)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(options)
	defer func() {
		_ = asynq.NewInspectorFromRedisClient(rdb).DeleteQueue(queue, true)
		_ = rdb.Close()
	}()

	ctx, end := context.WithCancel(ctx)
	var listening sync.WaitGroup
	barriers, err := listener.New(pool, listener.Config{})
	if err != nil {
		end()
		return err
	}
	listening.Go(func() { _ = barriers.Run(ctx) })
	defer listening.Wait()
	defer end()

	shipped := make(chan struct{}, 1)
	stopWorker, err := work(ctx, pool, rdb, barriers, shipped)
	if err != nil {
		return err
	}
	defer stopWorker()

	client := asynq.NewClientFromRedisClient(rdb)
	if err := order(ctx, pool, client, "lost", errors.New("out of stock")); err != nil {
		say("ROLLBACK: %v", err)
	}
	if err := order(ctx, pool, client, "kept", nil); err != nil {
		return err
	}
	say("COMMIT")
	select {
	case <-shipped:
	case <-ctx.Done():
	}
	return nil
}

// work starts the worker.
func work(ctx context.Context, pool *pgxpool.Pool, rdb redis.UniversalClient, barriers guard.Waiter, shipped chan<- struct{}) (stop func(), err error) {
	g, err := guard.New(barriers, guard.Config{Slots: 5, Observe: func(_ context.Context, d guard.Decision) {
		say("the guard says %v, after %v: %v", d.Verdict, d.Waited.Round(time.Millisecond), d.Err)
	}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cfg := asynq.Config{Concurrency: 10, Queues: map[string]int{queue: 1}, LogLevel: asynq.ErrorLevel}
	guarded, err := guardasynq.Configure(ctx, &cfg, g, rdb)
	if err != nil {
		cancel()
		return nil, err
	}
	mux := asynq.NewServeMux()
	mux.Use(guarded)
	mux.HandleFunc("order:ship", func(ctx context.Context, task *asynq.Task) error {
		var orders int
		err := pool.QueryRow(ctx, "SELECT count(*) FROM orders WHERE name = $1", string(task.Payload())).Scan(&orders)
		say("the handler ships %q and finds %d order", task.Payload(), orders)
		if err == nil {
			shipped <- struct{}{}
		}
		return err
	})
	srv := asynq.NewServerFromRedisClient(rdb, cfg)
	if err := srv.Start(mux); err != nil {
		cancel()
		return nil, err
	}
	return func() { cancel(); srv.Shutdown() }, nil
}

// order inserts an order and sends its task, a while before the transaction ends.
func order(ctx context.Context, pool *pgxpool.Pool, client *asynq.Client, name string, result error) error {
	return notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", name); err != nil {
			return err
		}
		task, err := guardasynq.NewTask(ctx, "order:ship", []byte(name), asynq.Queue(queue))
		if err != nil {
			return err
		}
		if _, err := client.EnqueueContext(ctx, task); err != nil {
			return err
		}
		say("BEGIN; INSERT; the task of order %q is in redis", name)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		return result
	})
}
