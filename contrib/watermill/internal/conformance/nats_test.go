package conformance

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	guardwatermill "github.com/pgbarrier/pgbarrier/contrib/watermill"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// Most transactions of the suite that are kept open are longer than this.
const ackWait = 2500 * time.Millisecond

// TestNATS: each case has a server of its own, and the cases run at the same time.
func TestNATS(t *testing.T) {
	t.Parallel()
	for _, c := range guardtest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			b := startNATS(t)
			c.Run(t, database(t), guardtest.Adapter{
				Open: b.open, Restart: b.restart,
				Lacks: map[guardtest.Feature]string{
					guardtest.DatabaseRestart: "the server is shared by other tests, and the guard's own tests restart one",
				},
			})
		})
	}
}

// A stream is a queue of the suite: one stream for its messages, and one for those that are rejected.
type stream struct {
	*natsServer
	t         testing.TB
	name      string
	js        natsjs.JetStream
	publisher message.Publisher
	killed    sync.WaitGroup

	mu        sync.Mutex
	exhausted []uint64 // messages whose deliveries are used up, by their place
}

func (b *natsServer) open(t testing.TB, name string, attempts int) guardtest.Queue {
	nc, err := b.connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	q := &stream{natsServer: b, t: t, name: name}
	if q.js, err = natsjs.New(nc); err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{name, deadTopic(name)} {
		if _, err := q.js.CreateStream(t.Context(), natsjs.StreamConfig{Name: topic, Subjects: []string{topic}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.js.CreateConsumer(t.Context(), name, natsjs.ConsumerConfig{
		Durable: "workers", AckPolicy: natsjs.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: attempts,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES."+name+".*", q.exhaust); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if q.publisher, err = jetstream.NewPublisher(jetstream.PublisherConfig{Conn: nc, Logger: newLogger()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.killed.Wait)
	return guardtest.Queue{Publish: q.publish, Consume: q.consume, Dead: q.dead}
}

func (q *stream) publish(ctx context.Context, m guardtest.Message) error {
	made, err := newMessage(ctx, m)
	if err != nil {
		return err
	}
	made.Metadata.Set(natsjs.MsgIDHeader, made.UUID) // what pkg/nats does with TrackMsgId
	return q.publisher.Publish(q.name, made)
}

// An unmarshaler keeps alive what it makes.
type unmarshaler struct{ jetstream.DefaultUnmarshaler }

func (u unmarshaler) Unmarshal(raw natsjs.Msg) (*message.Message, error) {
	m, err := u.DefaultUnmarshaler.Unmarshal(raw)
	if err == nil {
		guardwatermill.KeepAlive(m, ackWait/4, raw.InProgress)
	}
	return m, err
}

func (q *stream) consume(w guardtest.Worker) (guardtest.Running, error) {
	nc, err := q.connect()
	if err != nil {
		return guardtest.Running{}, err
	}
	log := newLogger()
	sub, err := jetstream.NewSubscriber(jetstream.SubscriberConfig{
		Conn: nc, Logger: log, AckWaitTimeout: time.Hour, Unmarshaler: unmarshaler{},
		ResourceInitializer: jetstream.ExistingConsumer(func(string, string) natsjs.ConsumerConfig {
			return natsjs.ConsumerConfig{Name: "workers"}
		}, ""),
		ConsumeOptions: []natsjs.PullConsumeOpt{natsjs.PullMaxMessages(1)},
	})
	if err != nil {
		nc.Close()
		return guardtest.Running{}, err
	}
	p, err := start(w, q.name, sub, q.publisher, log)
	if err != nil {
		nc.Close()
		return guardtest.Running{}, err
	}
	return guardtest.Running{
		Stop: func() error {
			defer nc.Close()
			return p.close()
		},
		Kill: func() {
			nc.Close() // nothing reaches the server any more
			q.killed.Go(func() { _ = p.close() })
		},
	}, nil
}

func (q *stream) exhaust(m *nats.Msg) {
	var advisory struct {
		Place uint64 `json:"stream_seq"`
	}
	if err := json.Unmarshal(m.Data, &advisory); err != nil {
		q.t.Error(err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.exhausted = append(q.exhausted, advisory.Place)
}

func (q *stream) dead(ctx context.Context) (ids []string, err error) {
	rejected, err := q.js.Stream(ctx, deadTopic(q.name))
	if err != nil {
		return nil, err
	}
	for place := range rejected.CachedInfo().State.LastSeq {
		m, err := rejected.GetMsg(ctx, place+1)
		if err != nil {
			return nil, err
		}
		ids = append(ids, string(m.Data))
	}
	sent, err := q.js.Stream(ctx, q.name)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, place := range q.exhausted {
		m, err := sent.GetMsg(ctx, place)
		if err != nil {
			return nil, err
		}
		ids = append(ids, string(m.Data))
	}
	return ids, nil
}
