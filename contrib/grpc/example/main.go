// The example shows a guarded gRPC service that is asked about two orders before their transactions have ended: one
// commits, and one rolls back. It starts PostgreSQL by itself:
//
//	go run ./contrib/grpc/example
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pgbarrier/pgbarrier"
	guardgrpc "github.com/pgbarrier/pgbarrier/contrib/grpc"
	"github.com/pgbarrier/pgbarrier/contrib/grpc/internal/orders"
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
	db, err := devpg.Start(ctx, devpg.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	pool, err := pgxpool.New(ctx, db.URL())
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := pgbarrier.Migrate(ctx, pool); err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, "CREATE TABLE orders (name text, status text)"); err != nil {
		return err
	}

	ctx, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	barriers, err := listener.New(pool, listener.Config{})
	if err != nil {
		return err
	}
	running.Go(func() { _ = barriers.Run(ctx) })
	address, err := serve(ctx, &running, pool, barriers)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()

	asked := make(chan struct{})
	for _, try := range []struct {
		order  string
		result error
	}{{"lost", errors.New("out of stock")}, {"kept", nil}} {
		err := order(ctx, pool, try.order, func(token pgbarrier.Token) {
			go func() {
				ask(ctx, orders.Client{Conn: conn}, try.order, token)
				asked <- struct{}{}
			}()
		}, try.result)
		say("the transaction of order %q has ended: %v", try.order, err)
		<-asked
	}
	return nil
}

// serve starts the guarded service.
func serve(ctx context.Context, running *sync.WaitGroup, pool *pgxpool.Pool, barriers guard.Waiter) (address string, err error) {
	g, err := guard.New(barriers, guard.Config{Slots: -1, Observe: func(_ context.Context, d guard.Decision) {
		say("the guard says %v, after %v: %v", d.Verdict, d.Waited.Round(time.Millisecond), d.Err)
	}})
	if err != nil {
		return "", err
	}
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(guardgrpc.UnaryServerInterceptor(ctx, g)),
		grpc.ChainStreamInterceptor(guardgrpc.StreamServerInterceptor(ctx, g)),
	)
	orders.Register(server, reader{pool})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	running.Go(func() { _ = server.Serve(lis) })
	context.AfterFunc(ctx, server.GracefulStop)
	return lis.Addr().String(), nil
}

// reader answers from the database.
type reader struct{ pool *pgxpool.Pool }

// Get returns an order's status.
func (r reader) Get(ctx context.Context, order string) (status string, err error) {
	err = r.pool.QueryRow(ctx, "SELECT status FROM orders WHERE name = $1", order).Scan(&status)
	return status, err
}

// Watch sends an order's status once.
func (r reader) Watch(ctx context.Context, order string, send func(string) error) error {
	status, err := r.Get(ctx, order)
	if err != nil {
		return err
	}
	return send(status)
}

// ask is another service, that was handed the order's name and token.
func ask(ctx context.Context, client orders.Client, order string, token pgbarrier.Token) {
	say("another service asks for order %q", order)
	var status string
	err := guardgrpc.Do(ctx, func(ctx context.Context) (err error) {
		status, err = client.Get(ctx, order)
		return err
	}, token)
	if err != nil {
		say("the answer about order %q: %v", order, err)
		return
	}
	say("the answer about order %q: it is %s", order, status)
}

// order inserts an order and hands its token on, 3 s before the transaction ends.
func order(ctx context.Context, pool *pgxpool.Pool, name string, handOn func(pgbarrier.Token), result error) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1, 'paid')", name); err != nil {
			return err
		}
		token, err := notify.Create(ctx, tx)
		if err != nil {
			return err
		}
		say("BEGIN; INSERT; the token of order %q is handed on", name)
		handOn(token)
		select {
		case <-time.After(3 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		return result
	})
}
