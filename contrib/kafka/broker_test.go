package guardkafka

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A broker is one that speaks Kafka's protocol over TCP (kfake), with a directory for what it stores.
type broker struct {
	dir  string
	port int

	mu sync.Mutex
	*kfake.Cluster
}

// startBroker starts a broker, which is gone when the test ends.
func startBroker(t testing.TB) *broker {
	t.Helper()
	b, err := newBroker(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

func newBroker(dir string) (b *broker, err error) {
	for range 5 { // another process may take the port between
		b = &broker{dir: dir, port: freePort()}
		if err = b.start(); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("starting kfake: %w", err)
}

// freePort returns one below those that the system hands out by itself, to a client while the broker restarts.
func freePort() int {
	for {
		port := 15000 + rand.IntN(15000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
}

func (b *broker) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(b.port), kfake.DataDir(b.dir),
		kfake.GroupMinSessionTimeout(time.Second))
	b.Cluster = cluster
	return err
}

func (b *broker) close() { b.cluster().Close() }

func (b *broker) cluster() *kfake.Cluster {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Cluster
}

// restart ends the broker, with its connections, and starts it again with what it has stored.
func (b *broker) restart(ctx context.Context) (err error) {
	b.close()
	for ctx.Err() == nil {
		if err = b.start(); err == nil {
			return nil
		}
		sleep(ctx, 20*time.Millisecond) // the port may not be free yet
	}
	return err
}

// options are those of every client of the tests.
func (b *broker) options() []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(fmt.Sprintf("127.0.0.1:%d", b.port)),
		kgo.HeartbeatInterval(100 * time.Millisecond), // so often a member learns of a rebalance
		kgo.SessionTimeout(10 * time.Second),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}
}

// producer returns a client that puts records into the partitions that they name.
func (b *broker) producer(t testing.TB) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(b.options(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// A wire is a client's connections, which can be cut as the death of a process does.
type wire struct {
	mu    sync.Mutex
	conns []net.Conn
	isCut bool
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	w.conns = append(w.conns, conn)
	return conn, nil
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for _, conn := range w.conns {
		_ = conn.Close()
	}
}
