package guardjetstream

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
	"github.com/pgbarrier/pgbarrier/listener"
)

// ForExample takes what the example finds opened.
var ForExample func(*pgxpool.Pool, *listener.Listener, jetstream.JetStream, jetstream.Consumer)

// openExample opens what the example's application has opened: examples run in the same process as the tests.
func openExample(ctx context.Context) (close func(), err error) {
	var closers []func()
	close = func() {
		for len(closers) > 0 {
			closers[len(closers)-1]()
			closers = closers[:len(closers)-1]
		}
	}
	defer func() {
		if err != nil {
			close()
		}
	}()

	url, err := server.CreateDatabase(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	closers = append(closers, pool.Close)
	if err := pgbarrier.Migrate(ctx, pool); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, "CREATE TABLE orders (id integer PRIMARY KEY, status text)"); err != nil {
		return nil, err
	}
	l, stop, err := listen(pool)
	if err != nil {
		return nil, err
	}
	closers = append(closers, stop)

	b, err := devbroker.Start(ctx, devbroker.NATS)
	if err != nil {
		return nil, err
	}
	closers = append(closers, func() { _ = b.Close() })
	nc, err := nats.Connect(b.URL)
	if err != nil {
		return nil, err
	}
	closers = append(closers, nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}})
	if err != nil {
		return nil, err
	}
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		return nil, err
	}
	ForExample(pool, l, js, c)
	return close, nil
}
