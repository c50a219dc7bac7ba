package guardtemporal

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// ForExample takes what the example finds opened.
var ForExample func(*pgxpool.Pool, *listener.Listener)

// openExample opens what the example's application has opened: examples run in the same process as the tests.
func openExample(ctx context.Context) (close func(), err error) {
	url, err := server.CreateDatabase(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	if err := pgbarrier.Migrate(ctx, pool); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, "CREATE TABLE orders (id integer PRIMARY KEY, status text)"); err != nil {
		return nil, err
	}
	l, err := listener.New(pool, listener.Config{})
	if err != nil {
		return nil, err
	}
	listening, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(listening) })
	ForExample(pool, l)
	return func() {
		stop()
		running.Wait()
		pool.Close()
	}, nil
}
