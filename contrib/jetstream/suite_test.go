package guardjetstream

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/listener"
)

// TestConformance holds Consume and Publish to the suite of all adapters, each case with servers' data of its own.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range guardtest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			b := startBroker(t)
			c.Run(t, suiteDatabase(t), guardtest.Adapter{
				Open: b.queue, Restart: b.Crash,
				Lacks: map[guardtest.Feature]string{
					guardtest.DatabaseRestart: "the server is shared by other tests",
				},
			})
		})
	}
}

func suiteDatabase(t *testing.T) guardtest.Database {
	t.Helper()
	config, err := pgxpool.ParseConfig(server.DatabaseForTest(t))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 13
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := pgbarrier.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	l, stop, err := listen(pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return guardtest.Database{Pool: pool, Waiter: l}
}

// listen runs a listener until stop is called.
func listen(pool *pgxpool.Pool) (l *listener.Listener, stop func(), err error) {
	if l, err = listener.New(pool, listener.Config{}); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Run(ctx)
	}()
	return l, func() {
		cancel()
		<-done
	}, nil
}

// queue makes a stream and a consumer for a case of the suite.
func (b broker) queue(t testing.TB, name string, attempts int) guardtest.Queue {
	nc, js := b.connect(t)
	s, _ := stream(t, js, name, jetstream.ConsumerConfig{MaxDeliver: attempts, AckWait: 2 * time.Second})
	dead := collect(t, nc, s, name)
	var workers sync.WaitGroup
	t.Cleanup(workers.Wait)
	return guardtest.Queue{
		Publish: func(ctx context.Context, m guardtest.Message) error {
			message := &nats.Msg{Subject: name, Data: []byte(m.ID), Header: nats.Header{}}
			for key, value := range m.Header {
				message.Header.Set(key, value)
			}
			_, err := Publish(ctx, js, message, m.Business)
			return err
		},
		Consume: func(w guardtest.Worker) (guardtest.Running, error) { return b.consume(&workers, name, w) },
		Dead:    dead,
	}
}

// consume starts a worker with a connection of its own.
func (b broker) consume(workers *sync.WaitGroup, name string, w guardtest.Worker) (guardtest.Running, error) {
	nc, js, err := b.open()
	if err != nil {
		return guardtest.Running{}, err
	}
	c, err := js.Consumer(context.Background(), name, "workers")
	if err != nil {
		nc.Close()
		return guardtest.Running{}, err
	}
	ctx, stop := context.WithCancel(context.Background())
	config := Config{Workers: w.Workers, Retry: func(int, error) time.Duration { return 20 * time.Millisecond }}
	ended := make(chan error, 1)
	workers.Go(func() {
		defer nc.Close()
		defer stop()
		ended <- Consume(ctx, c, w.Guard, config, func(ctx context.Context, m jetstream.Msg) error {
			return w.Handle(ctx, string(m.Data()))
		})
	})
	return guardtest.Running{
		Stop: func() error {
			stop()
			return <-ended
		},
		Kill: func() {
			nc.Close() // nothing reaches the server any more
			stop()
		},
	}, nil
}

// collect collects the ids of messages that the server says are dead: JetStream has no place for them, it publishes
// advisories, and the messages stay in the stream.
func collect(t testing.TB, nc *nats.Conn, s jetstream.Stream, name string) func(context.Context) ([]string, error) {
	var mu sync.Mutex
	var dead []uint64
	for _, kind := range []string{"MSG_TERMINATED", "MAX_DELIVERIES"} {
		_, err := nc.Subscribe("$JS.EVENT.ADVISORY.CONSUMER."+kind+"."+name+".*", func(m *nats.Msg) {
			var advisory struct {
				Place uint64 `json:"stream_seq"`
			}
			if err := json.Unmarshal(m.Data, &advisory); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			dead = append(dead, advisory.Place)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) (ids []string, err error) {
		mu.Lock()
		places := slices.Clone(dead)
		mu.Unlock()
		for _, place := range places {
			m, err := s.GetMsg(ctx, place)
			if err != nil {
				return nil, err
			}
			ids = append(ids, string(m.Data))
		}
		return ids, nil
	}
}
