package guardrabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier"
	guardrabbitmq "github.com/pgbarrier/pgbarrier/contrib/rabbitmq"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

func dial() (*amqp.Connection, error) { return amqp.Dial(os.Getenv("AMQP_URL")) }

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := run(ctx, stop); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Println(err)
	}
	// Output:
	// placing order 1
	// mailing about order 1
}

func run(ctx context.Context, stop func()) error {
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := pgbarrier.Migrate(ctx, pool); err != nil {
		return err
	}
	channel, done, err := setUp(ctx, pool)
	if err != nil {
		return err
	}
	defer done()

	// The producer.
	err = notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES (1)"); err != nil {
			return err
		}
		m := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("order 1")}
		if err := guardrabbitmq.Inject(ctx, &m); err != nil {
			return err
		}
		confirm, err := channel.PublishWithDeferredConfirm("", "orders", true, false, m)
		if err != nil {
			return err
		}
		if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
			return errors.Join(err, errors.New("the broker did not take the message"))
		}
		fmt.Println("placing order 1")
		return nil
	})
	if err != nil {
		return err
	}

	// The consumer, which is another process.
	barriers, err := listener.New(pool, listener.Config{})
	if err != nil {
		return err
	}
	listening := make(chan error, 1)
	go func() { listening <- barriers.Run(ctx) }()
	g, err := guard.New(barriers, guard.Config{})
	if err != nil {
		return err
	}
	handle := func(ctx context.Context, d amqp.Delivery) error {
		fmt.Printf("mailing about %s\n", d.Body)
		stop()
		return nil
	}
	err = guardrabbitmq.Consume(ctx, dial, g, guardrabbitmq.Config{Queue: "orders"}, handle)
	stop()
	return errors.Join(err, <-listening)
}

// setUp makes the table, the queues, and a channel to publish on.
func setUp(ctx context.Context, pool *pgxpool.Pool) (channel *amqp.Channel, done func(), err error) {
	if _, err := pool.Exec(ctx, "CREATE TABLE IF NOT EXISTS orders (id int)"); err != nil {
		return nil, nil, err
	}
	conn, err := dial()
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = conn.Close() }
	if channel, err = conn.Channel(); err != nil {
		return nil, done, err
	}
	if _, err = channel.QueueDeclare("orders.dead", true, false, false, false, nil); err != nil {
		return nil, done, err
	}
	_, err = channel.QueueDeclare("orders", true, false, false, false, amqp.Table{
		"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "orders.dead",
	})
	if err != nil {
		return nil, done, err
	}
	return channel, done, channel.Confirm(false)
}
