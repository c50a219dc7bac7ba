package guardrabbitmq

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
	"github.com/pgbarrier/pgbarrier/listener"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			own := ownNode(t)
			guardtest.Run(t, database(t), guardtest.Adapter{
				Open: func(t testing.TB, name string, attempts int) guardtest.Queue {
					return openQueue(t, own, name, kind, attempts)
				},
				Restart:  own.Restart,
				Patience: time.Minute, // a broker takes half of that to start on a full machine
				Lacks: map[guardtest.Feature]string{
					guardtest.Deduplication:   "RabbitMQ has none; its plugin is not a part of it",
					guardtest.DatabaseRestart: "the server is shared by other tests, and the guard's own tests restart one",
				},
			})
		})
	}
}

// ownNode is a broker that the test may restart.
func ownNode(t *testing.T) *devbroker.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	own, err := devbroker.Start(ctx, devbroker.RabbitMQ)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the end of the broker's log: ", own.Log())
		}
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	return own
}

// database returns a database with a listener.
func database(t *testing.T) guardtest.Database {
	t.Helper()
	config, err := pgxpool.ParseConfig(server.DatabaseForTest(t))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 15
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := pgbarrier.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	barriers, err := listener.New(pool, listener.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- barriers.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return guardtest.Database{Pool: pool, Waiter: barriers}
}

// A testQueue is a work queue with a queue for its dead letters.
type testQueue struct {
	node     *devbroker.Server
	name     string
	attempts int
	workers  sync.WaitGroup

	mu       sync.Mutex
	conn     *amqp.Connection // nil: not connected yet
	producer *publishers
	dead     []string
}

func openQueue(t testing.TB, n *devbroker.Server, name, kind string, attempts int) guardtest.Queue {
	t.Helper()
	q := &testQueue{node: n, name: name, attempts: attempts}
	declareQueue(t, n, name, kind, attempts)
	t.Cleanup(q.close)
	return guardtest.Queue{Publish: q.publish, Consume: q.consume, Dead: q.deadLetters}
}

// declareQueue makes a work queue as a user does, with a queue for dead letters, until the test ends.
func declareQueue(t testing.TB, n *devbroker.Server, name, kind string, limit int) {
	t.Helper()
	args := amqp.Table{"x-queue-type": kind, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": name + ".dead"}
	if kind == "quorum" {
		args["x-delivery-limit"] = limit
	}
	onChannel(t, n, func(c *amqp.Channel) error {
		if _, err := c.QueueDeclare(name+".dead", true, false, false, false, nil); err != nil {
			return err
		}
		_, err := c.QueueDeclare(name, true, false, false, false, args)
		return err
	})
	t.Cleanup(func() {
		onChannel(t, n, func(c *amqp.Channel) error {
			queues := []string{name, name + ".dead"}
			for step := firstStep; step <= firstStep<<(steps-1); step *= 2 {
				queues = append(queues, retryQueue(name, step))
				for bucket := range uint32(buckets) {
					queues = append(queues, parkedQueue(name, step, bucket))
				}
			}
			for _, queue := range queues {
				if _, err := c.QueueDelete(queue, false, false, false); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func onChannel(t testing.TB, n *devbroker.Server, f func(c *amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.Dial(n.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := f(channel); err != nil {
		t.Fatal(err)
	}
}

// connected calls f with a connection, a new one if the last was lost. It is called with mu held.
func (q *testQueue) connected() error {
	if q.conn != nil && !q.conn.IsClosed() {
		return nil
	}
	conn, err := amqp.Dial(q.node.URL)
	if err != nil {
		return err
	}
	q.conn, q.producer = conn, newPublishers(conn, q.name)
	return nil
}

func (q *testQueue) close() {
	q.workers.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.conn != nil {
		_ = q.conn.Close()
	}
}

func (q *testQueue) publish(ctx context.Context, m guardtest.Message) error {
	q.mu.Lock()
	err := q.connected()
	producer := q.producer
	q.mu.Unlock()
	if err != nil {
		return err
	}
	p := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(m.ID), Headers: amqp.Table{}}
	for key, value := range m.Header {
		Headers(p.Headers).Set(key, value)
	}
	return producer.publish(ctx, q.name, 0, p)
}

func (q *testQueue) deadLetters(context.Context) ([]string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.connected(); err != nil {
		return nil, err
	}
	channel, err := q.conn.Channel()
	if err != nil {
		return nil, err
	}
	defer channel.Close()
	for {
		d, ok, err := channel.Get(q.name+".dead", true)
		if err != nil || !ok {
			return slices.Clone(q.dead), err
		}
		q.dead = append(q.dead, string(d.Body))
	}
}

func (q *testQueue) consume(w guardtest.Worker) (guardtest.Running, error) {
	wire := &wire{url: q.node.URL}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	// Few slots, so that most cases park.
	config := Config{Queue: q.name, Workers: w.Workers, Slots: 4, Prefetch: 4 + 2*w.Workers + 10, Attempts: q.attempts}
	q.workers.Go(func() {
		done <- Consume(ctx, wire.dial, w.Guard, config, func(ctx context.Context, d amqp.Delivery) error {
			return w.Handle(ctx, string(d.Body))
		})
	})
	return guardtest.Running{
		Stop: func() error {
			cancel()
			return <-done
		},
		Kill: func() {
			wire.cut()
			cancel() // its handlers may go on
		},
	}, nil
}

// A wire is a consumer's connections, which can be cut.
type wire struct {
	url string

	mu    sync.Mutex
	conns []net.Conn
	isCut bool
}

func (w *wire) dial() (*amqp.Connection, error) {
	return amqp.DialConfig(w.url, amqp.Config{Dial: func(network, address string) (net.Conn, error) {
		conn, err := amqp.DefaultDial(10*time.Second)(network, address)
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
	}})
}

// cut ends the connections as the death of a process does.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for _, conn := range w.conns {
		_ = conn.Close()
	}
}
