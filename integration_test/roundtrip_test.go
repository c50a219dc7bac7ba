package integration_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

type pgconnTag = pgconn.CommandTag

// writes counts what goes out on a connection: with pgx, a write a round trip.
type writes struct {
	net.Conn
	flushes *atomic.Int64
}

func (w writes) Write(b []byte) (int, error) {
	w.flushes.Add(1)
	return w.Conn.Write(b)
}

type counter struct{ flushes atomic.Int64 }

func connectCounting(t *testing.T, pool *pgxpool.Pool) (*pgx.Conn, *counter) {
	t.Helper()
	var count counter
	config := pool.Config().ConnConfig
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return writes{conn, &count.flushes}, err
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn, &count
}
