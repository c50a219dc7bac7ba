package guardkafka

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// ForExample takes what the example finds opened.
var ForExample func(*pgxpool.Pool, *listener.Listener, *kgo.Client, kgo.Opt)

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

	dir, err := os.MkdirTemp("", "kafka")
	if err != nil {
		return nil, err
	}
	closers = append(closers, func() { _ = os.RemoveAll(dir) })
	b, err := newBroker(dir)
	if err != nil {
		return nil, err
	}
	closers = append(closers, b.close)
	for _, topic := range []string{"orders", "orders.dead"} {
		if err := b.CreateTopic(topic, 1, nil); err != nil {
			return nil, err
		}
	}
	brokers := kgo.SeedBrokers(fmt.Sprintf("127.0.0.1:%d", b.port))
	client, err := kgo.NewClient(brokers)
	if err != nil {
		return nil, err
	}
	closers = append(closers, client.Close)
	ForExample(pool, l, client, brokers)
	return close, nil
}
