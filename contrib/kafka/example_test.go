package guardkafka_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	guardkafka "github.com/pgbarrier/pgbarrier/contrib/kafka"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

// The application has opened these.
var (
	pool     *pgxpool.Pool
	barriers *listener.Listener
	client   *kgo.Client
	brokers  kgo.Opt // kgo.SeedBrokers
)

// An order is written and announced in one transaction. Whoever handles the record finds the order.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	err := notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES (42, 'paid')"); err != nil {
			return err
		}
		return guardkafka.Produce(ctx, client, &kgo.Record{Topic: "orders", Key: []byte("42"), Value: []byte("42")})
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
	err = guardkafka.Consume(ctx, g, guardkafka.Config{Dead: "orders.dead"}, func(ctx context.Context, r *kgo.Record) error {
		defer stop() // this worker handles one record
		var status string
		err := pool.QueryRow(ctx, "SELECT status FROM orders WHERE id = $1::text::int", string(r.Value)).Scan(&status)
		fmt.Println("order", string(r.Value), "is", status)
		return err
	}, brokers, kgo.ConsumerGroup("shipping"), kgo.ConsumeTopics("orders"))
	fmt.Println("stopped:", err)

	// Output:
	// order 42 is paid
	// stopped: <nil>
}

func init() {
	guardkafka.ForExample = func(p *pgxpool.Pool, l *listener.Listener, c *kgo.Client, seeds kgo.Opt) {
		pool, barriers, client, brokers = p, l, c, seeds
	}
}
