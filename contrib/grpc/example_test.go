package guardgrpc_test

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pgbarrier/pgbarrier"
	guardgrpc "github.com/pgbarrier/pgbarrier/contrib/grpc"
	"github.com/pgbarrier/pgbarrier/contrib/grpc/internal/orders"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

// An order is paid in one service, and read through another, which may be asked before the order can be read.
func Example() {
	ctx, stop := context.WithCancel(context.Background()) // signal.NotifyContext in a program
	defer stop()
	pool, err := pgxpool.New(ctx, os.Getenv("EXAMPLE_DATABASE_URL"))
	check(err)
	defer pool.Close()
	check(pgbarrier.Migrate(ctx, pool))
	_, err = pool.Exec(ctx, "CREATE TABLE orders (name text, status text)")
	check(err)

	// The server.
	barriers, err := listener.New(pool, listener.Config{})
	check(err)
	listens := make(chan error, 1)
	go func() { listens <- barriers.Run(ctx) }()
	defer func() { stop(); <-listens }()

	g, err := guard.New(barriers, guard.Config{Slots: -1})
	check(err)
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(guardgrpc.UnaryServerInterceptor(ctx, g)),
		grpc.ChainStreamInterceptor(guardgrpc.StreamServerInterceptor(ctx, g)),
	)
	orders.Register(server, reader{pool})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() { check(server.Serve(lis)) }()
	defer func() { stop(); server.GracefulStop() }()

	// The client.
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	defer func() { _ = conn.Close() }()
	client := orders.Client{Conn: conn}

	tx, err := pool.Begin(ctx)
	check(err)
	_, err = tx.Exec(ctx, "INSERT INTO orders VALUES ('order 7', 'paid')")
	check(err)
	token, err := notify.Create(ctx, tx)
	check(err)
	check(tx.Commit(ctx))

	var status string
	err = guardgrpc.Do(ctx, func(ctx context.Context) (err error) { // after COMMIT
		status, err = client.Get(ctx, "order 7")
		return err
	}, token)
	check(err)
	fmt.Println("order 7 is", status)
	// Output:
	// order 7 is paid
}

// reader answers from the database.
type reader struct{ pool *pgxpool.Pool }

func (r reader) Get(ctx context.Context, order string) (status string, err error) {
	err = r.pool.QueryRow(ctx, "SELECT status FROM orders WHERE name = $1", order).Scan(&status)
	return status, err
}

func (r reader) Watch(ctx context.Context, order string, send func(string) error) error {
	status, err := r.Get(ctx, order)
	if err != nil {
		return err
	}
	return send(status)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
