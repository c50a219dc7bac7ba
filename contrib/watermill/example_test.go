package guardwatermill_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	guardwatermill "github.com/pgbarrier/pgbarrier/contrib/watermill"
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
	pubsub := gochannel.NewGoChannel(gochannel.Config{}, nil) // or NATS, RabbitMQ, …
	defer func() { _ = pubsub.Close() }()

	// The worker.
	barriers, err := listener.New(pool, listener.Config{})
	check(err)
	listens := make(chan error, 1)
	go func() { listens <- barriers.Run(ctx) }()
	defer func() { stop(); <-listens }()

	g, err := guard.New(barriers, guard.Config{})
	check(err)
	poison, err := middleware.PoisonQueue(pubsub, "orders.poison")
	check(err)
	retry := middleware.Retry{MaxRetries: 3}
	router := message.NewDefaultRouter(nil)
	router.AddMiddleware(poison, guardwatermill.Middleware(g, guardwatermill.Config{}), retry.Middleware)
	shipped := make(chan string)
	router.AddConsumerHandler("ship", "orders", pubsub, func(m *message.Message) error {
		shipped <- string(m.Payload)
		return nil
	})
	runs := make(chan error, 1)
	go func() { runs <- router.Run(ctx) }()
	defer func() { _ = router.Close(); <-runs }()
	<-router.Running()

	// The producer: the first try rolls back, the second commits.
	publisher, err := guardwatermill.Publisher(pubsub)
	check(err)
	order := func(try string, result error) error {
		return notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
			m := message.NewMessageWithContext(ctx, watermill.NewUUID(), []byte(try))
			if err := publisher.Publish("orders", m); err != nil {
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
