// The example shows a guarded watermill router beside a transaction that commits and one that rolls back. It starts
// PostgreSQL by itself, and has gochannel for a broker:
//
//	go run ./contrib/watermill/example
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	guardwatermill "github.com/pgbarrier/pgbarrier/contrib/watermill"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/guard"
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

var began = time.Now()

func say(format string, args ...any) {
	fmt.Printf("%5.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

func run(ctx context.Context) error {
	server, err := devpg.Start(ctx, devpg.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
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

	ctx, end := context.WithCancel(ctx)
	defer end()
	barriers, err := listener.New(pool, listener.Config{})
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	running.Go(func() { _ = barriers.Run(ctx) })
	defer running.Wait()
	defer end()

	pubsub := gochannel.NewGoChannel(gochannel.Config{}, nil)
	shipped := make(chan struct{}, 1)
	router, err := newRouter(pool, pubsub, barriers, shipped)
	if err != nil {
		return err
	}
	running.Go(func() { _ = router.Run(ctx) })
	defer func() { _ = router.Close() }()
	<-router.Running()

	publisher, err := guardwatermill.Publisher(pubsub)
	if err != nil {
		return err
	}
	if err := order(ctx, pool, publisher, "lost", errors.New("out of stock")); err != nil {
		say("ROLLBACK: %v", err)
	}
	if err := order(ctx, pool, publisher, "kept", nil); err != nil {
		return err
	}
	say("COMMIT")
	select {
	case <-shipped:
	case <-ctx.Done():
	}
	return nil
}

// newRouter returns the worker.
func newRouter(pool *pgxpool.Pool, pubsub *gochannel.GoChannel, barriers guard.Waiter, shipped chan<- struct{}) (*message.Router, error) {
	g, err := guard.New(barriers, guard.Config{Observe: func(_ context.Context, d guard.Decision) {
		say("the guard says %v, after %v: %v", d.Verdict, d.Waited.Round(time.Millisecond), d.Err)
	}})
	if err != nil {
		return nil, err
	}
	poison, err := middleware.PoisonQueue(pubsub, "orders.poison")
	if err != nil {
		return nil, err
	}
	retry := middleware.Retry{MaxRetries: 3, InitialInterval: 100 * time.Millisecond}
	router := message.NewDefaultRouter(nil)
	router.AddMiddleware(poison, guardwatermill.Middleware(g, guardwatermill.Config{Workers: 10}), retry.Middleware)
	router.AddConsumerHandler("ship", "orders", pubsub, func(m *message.Message) error {
		var orders int
		err := pool.QueryRow(m.Context(), "SELECT count(*) FROM orders WHERE name = $1", string(m.Payload)).Scan(&orders)
		say("the handler ships %q and finds %d order", m.Payload, orders)
		if err == nil {
			shipped <- struct{}{}
		}
		return err
	})
	return router, nil
}

// order inserts an order and publishes a message about it, 3 s before the transaction ends.
func order(ctx context.Context, pool *pgxpool.Pool, publisher message.Publisher, name string, result error) error {
	return notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", name); err != nil {
			return err
		}
		m := message.NewMessageWithContext(ctx, watermill.NewUUID(), []byte(name))
		if err := publisher.Publish("orders", m); err != nil {
			return err
		}
		say("BEGIN; INSERT; the message about order %q is published", name)
		select {
		case <-time.After(3 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		return result
	})
}
