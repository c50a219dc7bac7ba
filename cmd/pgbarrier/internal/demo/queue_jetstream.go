package demo

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	guardjetstream "github.com/pgbarrier/pgbarrier/contrib/jetstream"
	"github.com/pgbarrier/pgbarrier/guard"
)

// A stream has a subject of its own name.
type stream struct {
	name     string
	nc       *nats.Conn
	js       jetstream.JetStream
	consumer jetstream.Consumer // nil in a producer process
}

func newStream(url, name string) (*stream, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &stream{name: name, nc: nc, js: js}, nil
}

func openStream(ctx context.Context, url, name string) (queue, error) {
	q, err := newStream(url, name)
	if err != nil {
		return nil, err
	}
	s, err := q.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}})
	if err == nil {
		q.consumer, err = s.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1})
	}
	if err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

func dialStream(_ context.Context, url, name string) (sender, error) { return newStream(url, name) }

func (q *stream) send(ctx context.Context, request int) error {
	_, err := guardjetstream.Publish(ctx, q.js, &nats.Msg{Subject: q.name, Data: []byte(strconv.Itoa(request))}, "")
	return err
}

func (q *stream) consume(ctx context.Context, g *guard.Guard, handle handler) error {
	return guardjetstream.Consume(ctx, q.consumer, g, guardjetstream.Config{Workers: workersAtOnce}, func(ctx context.Context, m jetstream.Msg) error {
		request, err := strconv.Atoi(string(m.Data()))
		if err != nil {
			return err
		}
		return handle(ctx, request)
	})
}

func (q *stream) isEmpty(ctx context.Context) (bool, error) {
	info, err := q.consumer.Info(ctx)
	return err == nil && info.NumPending == 0 && info.NumAckPending == 0, err
}

func (q *stream) remove(ctx context.Context) error {
	defer q.close()
	return q.js.DeleteStream(ctx, q.name)
}

func (q *stream) close() { q.nc.Close() }
