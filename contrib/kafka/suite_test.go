package guardkafka

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/listener"
)

// TestConformance holds Consume to the suite of all adapters, each case with a broker and a database of its own.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range guardtest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			b := startBroker(t)
			c.Run(t, suiteDatabase(t), guardtest.Adapter{
				Open: b.queue, Restart: b.restart, Patience: patience,
				Lacks: map[guardtest.Feature]string{
					guardtest.Attempts:        "Kafka does not count deliveries; Config.Attempts is each process's",
					guardtest.Deduplication:   "Kafka has no ids to deduplicate by",
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

// suitePartitions is for the keys of a case: at most 11, and each has one of its own.
const suitePartitions = 12

// A suiteQueue is a topic, and one for its dead records.
type suiteQueue struct {
	*broker
	name     string
	attempts int
	producer *kgo.Client
	workers  sync.WaitGroup

	mu         sync.Mutex
	partitions map[string]int32 // by key
}

func (b *broker) queue(t testing.TB, name string, attempts int) guardtest.Queue {
	q := &suiteQueue{broker: b, name: name, attempts: attempts, partitions: map[string]int32{}}
	for topic, partitions := range map[string]int32{name: suitePartitions, name + ".dead": 1} {
		if err := b.cluster().CreateTopic(topic, partitions, nil); err != nil {
			t.Fatal(err)
		}
	}
	q.producer = b.producer(t)
	t.Cleanup(q.workers.Wait)
	return guardtest.Queue{
		Publish: q.publish,
		Consume: q.consume,
		Dead: func(ctx context.Context) ([]string, error) {
			records, err := b.read(ctx, name+".dead")
			var ids []string
			for _, r := range records {
				ids = append(ids, string(r.Value))
			}
			return ids, err
		},
	}
}

func (q *suiteQueue) publish(ctx context.Context, m guardtest.Message) error {
	q.mu.Lock()
	partition, ok := q.partitions[m.Key]
	if !ok {
		partition = int32(len(q.partitions))
		q.partitions[m.Key] = partition
	}
	q.mu.Unlock()
	if partition >= suitePartitions {
		return fmt.Errorf("the topic has not enough partitions for key %q", m.Key)
	}
	r := &kgo.Record{Topic: q.name, Partition: partition, Key: []byte(m.Key), Value: []byte(m.ID)}
	for key, value := range m.Header {
		Headers(r).Set(key, value)
	}
	return Produce(ctx, q.producer, r)
}

func (q *suiteQueue) consume(w guardtest.Worker) (guardtest.Running, error) {
	ctx, stop := context.WithCancel(context.Background())
	config := Config{
		Dead: q.name + ".dead", Workers: w.Workers, Attempts: q.attempts,
		Retry: func(int, error) time.Duration { return 20 * time.Millisecond },
	}
	wire := new(wire)
	opts := append(q.options(), kgo.ConsumerGroup("workers"), kgo.ConsumeTopics(q.name), kgo.Dialer(wire.dial))
	ended := make(chan error, 1)
	q.workers.Go(func() {
		defer stop()
		ended <- Consume(ctx, w.Guard, config, func(ctx context.Context, r *kgo.Record) error {
			return w.Handle(ctx, string(r.Value))
		}, opts...)
	})
	return guardtest.Running{
		Stop: func() error {
			stop()
			return <-ended
		},
		Kill: func() {
			wire.cut()
			stop()
		},
	}, nil
}

// read returns all records of partition 0 of a topic.
func (b *broker) read(ctx context.Context, topic string) ([]*kgo.Record, error) {
	info := b.cluster().PartitionInfo(topic, 0)
	if info == nil {
		return nil, fmt.Errorf("there is no topic %q", topic)
	}
	if info.HighWatermark == 0 {
		return nil, nil
	}
	client, err := kgo.NewClient(append(b.options(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {0: kgo.NewOffset().AtStart()},
	}))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var records []*kgo.Record
	for int64(len(records)) < info.HighWatermark && ctx.Err() == nil {
		records = append(records, client.PollFetches(ctx).Records()...)
	}
	return records, ctx.Err()
}
