// The example shows a guarded River client beside a transaction that commits and one that rolls back, in another
// database than River's. It starts PostgreSQL by itself:
//
//	go run ./contrib/river/example
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
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier"
	guardriver "github.com/pgbarrier/pgbarrier/contrib/river"
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
	pool, err := orders(ctx, server)
	if err != nil {
		return err
	}
	defer pool.Close()
	riverPool, err := jobs(ctx, server)
	if err != nil {
		return err
	}
	defer riverPool.Close()

	ctx, end := context.WithCancel(ctx)
	var listening sync.WaitGroup
	barriers, err := listener.New(pool, listener.Config{})
	if err != nil {
		end()
		return err
	}
	listening.Go(func() { _ = barriers.Run(ctx) })
	defer listening.Wait()
	defer end()

	shipped := make(chan struct{}, 1)
	stopWorker, err := work(ctx, pool, riverPool, barriers, shipped)
	if err != nil {
		return err
	}
	defer stopWorker()

	client, err := river.NewClient(riverpgxv5.New(riverPool), &river.Config{
		Middleware: []rivertype.Middleware{guardriver.Inserts()},
	})
	if err != nil {
		return err
	}
	if err := order(ctx, pool, client, "lost", errors.New("out of stock")); err != nil {
		say("ROLLBACK: %v", err)
	}
	if err := order(ctx, pool, client, "kept", nil); err != nil {
		return err
	}
	say("COMMIT")
	select {
	case <-shipped:
	case <-ctx.Done():
	}
	return nil
}

// orders makes the application's database.
func orders(ctx context.Context, server *devpg.Server) (*pgxpool.Pool, error) {
	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		return nil, err
	}
	if err = pgbarrier.Migrate(ctx, pool); err == nil {
		_, err = pool.Exec(ctx, "CREATE TABLE orders (name text)")
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// jobs makes River's.
func jobs(ctx context.Context, server *devpg.Server) (*pgxpool.Pool, error) {
	url, err := server.CreateDatabase(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

type shipArgs struct {
	Order string `json:"order"`
}

func (shipArgs) Kind() string { return "ship" }

// work starts the worker.
func work(ctx context.Context, pool, riverPool *pgxpool.Pool, barriers guard.Waiter, shipped chan<- struct{}) (stop func(), err error) {
	g, err := guard.New(barriers, guard.Config{Slots: 5, Observe: func(_ context.Context, d guard.Decision) {
		say("the guard says %v, after %v: %v", d.Verdict, d.Waited.Round(time.Millisecond), d.Err)
	}})
	if err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(ctx context.Context, job *river.Job[shipArgs]) error {
		var orders int
		err := pool.QueryRow(ctx, "SELECT count(*) FROM orders WHERE name = $1", job.Args.Order).Scan(&orders)
		say("the worker ships %q and finds %d order", job.Args.Order, orders)
		if err == nil {
			shipped <- struct{}{}
		}
		return err
	}))
	cfg := &river.Config{Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}}, Workers: workers}
	ctx, cancel := context.WithCancel(ctx)
	if err := guardriver.Configure(ctx, cfg, g, riverPool); err != nil {
		cancel()
		return nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(riverPool), cfg)
	if err == nil {
		err = client.Start(context.WithoutCancel(ctx))
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return func() { cancel(); _ = client.Stop(context.Background()) }, nil
}

// order inserts an order and its job, 3 s before the transaction ends.
func order(ctx context.Context, pool *pgxpool.Pool, client *river.Client[pgx.Tx], name string, result error) error {
	return notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", name); err != nil {
			return err
		}
		if _, err := client.Insert(ctx, shipArgs{Order: name}, nil); err != nil {
			return err
		}
		say("BEGIN; INSERT; the job of order %q is in River's database", name)
		select {
		case <-time.After(3 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		return result
	})
}
