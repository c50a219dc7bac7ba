// The example shows a guarded RabbitMQ consumer beside a transaction that commits and one that rolls back. It starts
// PostgreSQL and RabbitMQ by itself, or takes the broker that DEVBROKER_RABBITMQ_URL names:
//
//	go run ./contrib/rabbitmq/example
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
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier"
	guardrabbitmq "github.com/pgbarrier/pgbarrier/contrib/rabbitmq"
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

const queue, dead = "pgbarrier-example", "pgbarrier-example.dead"

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
	broker, err := devbroker.Open(ctx, devbroker.RabbitMQ)
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
	dial := func() (*amqp.Connection, error) { return amqp.Dial(broker.URL) }
	channel, done, err := declare(dial)
	if err != nil {
		return err
	}
	defer done()

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
	tasks.Go(func() { failed <- work(ctx, pool, dial, barriers, shipped) })

	if err := order(ctx, pool, channel, "lost", errors.New("out of stock")); err != nil {
		say("ROLLBACK: %v", err)
	}
	if err := order(ctx, pool, channel, "kept", nil); err != nil {
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

// declare makes the queue, one for its dead letters, and a channel with confirms.
func declare(dial guardrabbitmq.Dial) (channel *amqp.Channel, done func(), err error) {
	conn, err := dial()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if channel, err = conn.Channel(); err != nil {
		return nil, nil, err
	}
	if _, err = channel.QueueDeclare(dead, true, false, false, false, nil); err != nil {
		return nil, nil, err
	}
	_, err = channel.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
	if err != nil {
		return nil, nil, err
	}
	done = func() {
		for _, name := range []string{queue, dead} {
			_, _ = channel.QueueDelete(name, false, false, false)
		}
		_ = conn.Close()
	}
	return channel, done, channel.Confirm(false)
}

// work consumes until ctx ends.
func work(ctx context.Context, pool *pgxpool.Pool, dial guardrabbitmq.Dial, barriers guard.Waiter, shipped chan<- struct{}) error {
	g, err := guard.New(barriers, guard.Config{Observe: func(_ context.Context, d guard.Decision) {
		say("the guard says %v, after %v: %v", d.Verdict, d.Waited.Round(time.Millisecond), d.Err)
	}})
	if err != nil {
		return err
	}
	return guardrabbitmq.Consume(ctx, dial, g, guardrabbitmq.Config{Queue: queue}, func(ctx context.Context, d amqp.Delivery) error {
		var orders int
		err := pool.QueryRow(ctx, "SELECT count(*) FROM orders WHERE name = $1", string(d.Body)).Scan(&orders)
		say("the handler ships %q and finds %d order", d.Body, orders)
		if err == nil {
			shipped <- struct{}{}
		}
		return err
	})
}

// order inserts an order and publishes its message, a while before the transaction ends.
func order(ctx context.Context, pool *pgxpool.Pool, channel *amqp.Channel, name string, result error) error {
	return notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", name); err != nil {
			return err
		}
		m := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(name)}
		if err := guardrabbitmq.Inject(ctx, &m); err != nil {
			return err
		}
		confirm, err := channel.PublishWithDeferredConfirm("", queue, true, false, m)
		if err != nil {
			return err
		}
		if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
			return errors.Join(err, errors.New("the broker did not take the message"))
		}
		say("BEGIN; INSERT; the message of order %q is in the queue", name)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		return result
	})
}
