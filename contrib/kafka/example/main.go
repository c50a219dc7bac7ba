// The example shows a guarded Kafka consumer beside a transaction that commits and one that rolls back. It starts
// PostgreSQL, and a broker that speaks Kafka's protocol (kfake), by itself:
//
//	go run ./contrib/kafka/example
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pgbarrier/pgbarrier"
	guardkafka "github.com/pgbarrier/pgbarrier/contrib/kafka"
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
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"), kfake.SeedTopics(1, "orders.dead"))
	if err != nil {
		return err
	}
	defer broker.Close()
	brokers := kgo.SeedBrokers(broker.ListenAddrs()...)

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
	client, err := kgo.NewClient(brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer client.Close()

	ctx, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	barriers, err := listener.New(pool, listener.Config{})
	if err != nil {
		return err
	}
	running.Go(func() { _ = barriers.Run(ctx) })
	g, err := guard.New(barriers, guard.Config{Observe: func(_ context.Context, d guard.Decision) {
		say("the guard says %v, after %v: %v", d.Verdict, d.Waited.Round(time.Millisecond), d.Err)
	}})
	if err != nil {
		return err
	}
	shipped := make(chan struct{}, 1)
	running.Go(func() {
		err := guardkafka.Consume(ctx, g, guardkafka.Config{Dead: "orders.dead"}, func(ctx context.Context, r *kgo.Record) error {
			var orders int
			err := pool.QueryRow(ctx, "SELECT count(*) FROM orders WHERE name = $1", string(r.Value)).Scan(&orders)
			say("the handler ships %q and finds %d order", r.Value, orders)
			if err == nil {
				shipped <- struct{}{}
			}
			return err
		}, brokers, kgo.ConsumerGroup("shipping"), kgo.ConsumeTopics("orders"))
		say("the consumer has stopped: %v", err)
	})

	if err := order(ctx, pool, client, 0, "lost", errors.New("out of stock")); err != nil {
		say("ROLLBACK: %v", err)
	}
	if err := order(ctx, pool, client, 1, "kept", nil); err != nil {
		return err
	}
	say("COMMIT")
	select {
	case <-shipped:
	case <-ctx.Done():
	}
	return nil
}

// order inserts an order and produces its record, 3 s before the transaction ends.
func order(ctx context.Context, pool *pgxpool.Pool, client *kgo.Client, partition int32, name string, result error) error {
	return notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", name); err != nil {
			return err
		}
		r := &kgo.Record{Topic: "orders", Partition: partition, Value: []byte(name)}
		if err := guardkafka.Produce(ctx, client, r); err != nil {
			return err
		}
		say("BEGIN; INSERT; the record of order %q is in partition %d", name, partition)
		select {
		case <-time.After(3 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		return result
	})
}
