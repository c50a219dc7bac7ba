package guardjetstream_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	guardjetstream "github.com/pgbarrier/pgbarrier/contrib/jetstream"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

// The application has opened these.
var (
	pool     *pgxpool.Pool
	barriers *listener.Listener
	js       jetstream.JetStream
	consumer jetstream.Consumer
)

// An order is written and announced in one transaction. Whoever handles the message finds the order.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	err := notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES (42, 'paid')"); err != nil {
			return err
		}
		m := &nats.Msg{Subject: "orders", Data: []byte("42")}
		_, err := guardjetstream.Publish(ctx, js, m, "order-42-paid")
		return err
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	g, err := guard.New(barriers, guard.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = guardjetstream.Consume(ctx, consumer, g, guardjetstream.Config{}, func(ctx context.Context, m jetstream.Msg) error {
		defer stop() // this worker handles one message
		var status string
		err := pool.QueryRow(ctx, "SELECT status FROM orders WHERE id = $1::text::int", string(m.Data())).Scan(&status)
		fmt.Println("order", string(m.Data()), "is", status)
		return err
	})
	fmt.Println("stopped:", err)

	// Output:
	// order 42 is paid
	// stopped: <nil>
}

func init() {
	guardjetstream.ForExample = func(p *pgxpool.Pool, l *listener.Listener, j jetstream.JetStream, c jetstream.Consumer) {
		pool, barriers, js, consumer = p, l, j, c
	}
}
