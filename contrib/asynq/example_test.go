package guardasynq_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/pgbarrier/pgbarrier"
	guardasynq "github.com/pgbarrier/pgbarrier/contrib/asynq"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background()) // signal.NotifyContext in a program
	defer stop()
	pool, err := pgxpool.New(ctx, os.Getenv("EXAMPLE_DATABASE_URL"))
	check(err)
	defer pool.Close()
	check(pgbarrier.Migrate(ctx, pool))
	rdb := redis.NewClient(&redis.Options{Addr: os.Getenv("EXAMPLE_REDIS_ADDR")})
	defer func() { _ = rdb.Close() }()

	// The worker.
	barriers, err := listener.New(pool, listener.Config{})
	check(err)
	listens := make(chan error, 1)
	go func() { listens <- barriers.Run(ctx) }()
	defer func() { stop(); <-listens }()

	g, err := guard.New(barriers, guard.Config{Slots: 5})
	check(err)
	cfg := asynq.Config{Concurrency: 10, Queues: map[string]int{"example": 1}, LogLevel: asynq.FatalLevel}
	guarded, err := guardasynq.Configure(ctx, &cfg, g, rdb)
	check(err)
	shipped := make(chan string)
	mux := asynq.NewServeMux()
	mux.Use(guarded)
	mux.HandleFunc("order:ship", func(ctx context.Context, task *asynq.Task) error {
		shipped <- string(task.Payload())
		return nil
	})
	srv := asynq.NewServerFromRedisClient(rdb, cfg)
	check(srv.Start(mux))
	defer srv.Shutdown()

	// The producer: the first try rolls back, the second commits.
	client := asynq.NewClientFromRedisClient(rdb)
	order := func(try string, result error) error {
		return notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
			task, err := guardasynq.NewTask(ctx, "order:ship", []byte(try), asynq.Queue("example"), asynq.TaskID("order-7"))
			if err != nil {
				return err
			}
			if _, err := client.EnqueueContext(ctx, task); err != nil {
				return err
			}
			return result
		})
	}
	fmt.Println("try 1:", order("sent by try 1", errors.New("out of stock")))
	fmt.Println("try 2:", order("sent by try 2", nil))
	fmt.Println(<-shipped)
	// Output:
	// try 1: out of stock
	// try 2: <nil>
	// sent by try 2
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
