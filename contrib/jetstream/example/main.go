// The example shows a guarded JetStream consumer beside a transaction that commits and one that rolls back. It starts
// PostgreSQL and nats-server by itself, or takes the server that DEVBROKER_NATS_URL names:
//
//	go run ./contrib/jetstream/example
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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier"
	guardjetstream "github.com/pgbarrier/pgbarrier/contrib/jetstream"
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

const (
	streamName = "PGBARRIER_EXAMPLE"
	subject    = "pgbarrier.example.orders"
)

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
	broker, err := devbroker.Open(ctx, devbroker.NATS)
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
	nc, err := nats.Connect(broker.URL)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: streamName, Subjects: []string{subject}})
	if err != nil {
		return err
	}
	defer func() { _ = js.DeleteStream(context.WithoutCancel(ctx), streamName) }()
	consumer, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		return err
	}

	ctx, end := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer end()
	barriers, err := listener.New(pool, listener.Config{})
	if err != nil {
		return err
	}
	tasks.Go(func() { _ = barriers.Run(ctx) })
	shipped, failed := make(chan struct{}, 1), make(chan error, 1)
	tasks.Go(func() { failed <- work(ctx, pool, consumer, barriers, shipped) })

	if err := order(ctx, pool, js, "lost", errors.New("out of stock")); err != nil {
		say("ROLLBACK: %v", err)
	}
	if err := order(ctx, pool, js, "kept", nil); err != nil {
		return err
	}
	say("COMMIT")
	select {
	case <-shipped:
		return nil
	case err := <-failed:
		return err
	}
}

// work consumes until ctx ends.
func work(ctx context.Context, pool *pgxpool.Pool, consumer jetstream.Consumer, barriers guard.Waiter, shipped chan<- struct{}) error {
	g, err := guard.New(barriers, guard.Config{Observe: func(_ context.Context, d guard.Decision) {
		say("the guard says %v, after %v: %v", d.Verdict, d.Waited.Round(time.Millisecond), d.Err)
	}})
	if err != nil {
		return err
	}
	return guardjetstream.Consume(ctx, consumer, g, guardjetstream.Config{}, func(ctx context.Context, m jetstream.Msg) error {
		var orders int
		err := pool.QueryRow(ctx, "SELECT count(*) FROM orders WHERE name = $1", string(m.Data())).Scan(&orders)
		say("the handler ships %q and finds %d order", m.Data(), orders)
		if err == nil {
			shipped <- struct{}{}
		}
		return err
	})
}

// order inserts an order and publishes its message, a while before the transaction ends.
func order(ctx context.Context, pool *pgxpool.Pool, js jetstream.JetStream, name string, result error) error {
	return notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", name); err != nil {
			return err
		}
		m := &nats.Msg{Subject: subject, Data: []byte(name)}
		if _, err := guardjetstream.Publish(ctx, js, m, "order-"+name); err != nil {
			return err
		}
		say("BEGIN; INSERT; the message of order %q is in the stream", name)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		return result
	})
}
