package guardjetstream

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// A lossy consumer's connection loses what is sent about a message until the server has delivered a copy of it.
type lossy struct {
	jetstream.Consumer
	lost atomic.Int64
}

type lossyBatch struct {
	jetstream.MessageBatch
	messages chan jetstream.Msg
}

type lossyMessage struct {
	jetstream.Msg
	of *lossy
}

func (l *lossy) Fetch(n int, opts ...jetstream.FetchOpt) (jetstream.MessageBatch, error) {
	batch, err := l.Consumer.Fetch(n, opts...)
	if err != nil {
		return nil, err
	}
	messages := make(chan jetstream.Msg)
	go func() {
		defer close(messages)
		for m := range batch.Messages() {
			if meta, err := m.Metadata(); err == nil && meta.NumDelivered == 1 {
				m = lossyMessage{m, l}
			}
			messages <- m
		}
	}()
	return lossyBatch{batch, messages}, nil
}

func (b lossyBatch) Messages() <-chan jetstream.Msg { return b.messages }

func (m lossyMessage) InProgress() error { return nil }

func (m lossyMessage) DoubleAck(context.Context) error {
	m.of.lost.Add(1)
	return errors.New("it was lost")
}

// The handler has ended, its acknowledgement is lost, and the message comes again: it is acknowledged, not handled.
func TestALostAcknowledgementIsRepeatedAndNotTheHandler(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Second})
	var consumer *lossy
	r.work("", Config{}, func(c jetstream.Consumer) jetstream.Consumer {
		consumer = &lossy{Consumer: c}
		return consumer
	})
	r.send(pgbarrier.Token{}, "once")
	r.untilRan("once")
	r.untilOutstanding(0)
	r.ran(1, "once")
	if consumer.lost.Load() == 0 {
		t.Error("nothing was lost")
	}
}

// A handler that settles its message has the last word.
func TestAHandlerMaySettleItsMessage(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Hour})
	g, err := guard.New(&r.barriers, guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.js.Consumer(t.Context(), "ORDERS", "workers")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	r.send(pgbarrier.Token{}, "twice")
	calls := 0
	go func() {
		ended <- Consume(ctx, c, g, Config{}, func(_ context.Context, m jetstream.Msg) error {
			if calls++; calls == 1 {
				return m.Nak()
			}
			stop()
			return nil
		})
	}()
	if err := <-ended; err != nil || calls != 2 {
		t.Errorf("Consume returned %v after %d calls, want 2", err, calls)
	}
	r.untilOutstanding(0)
}

// A rejected message is not delivered again, whatever the server's version, and the server says so.
func TestARejectedMessageIsTerminated(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{AckWait: time.Second})
	advisories, err := r.nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.ORDERS.workers")
	if err != nil {
		t.Fatal(err)
	}
	r.work("", Config{})
	m := nats.NewMsg("orders")
	m.Header.Set(guard.Header, "nothing like a token")
	if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	advisory, err := advisories.NextMsg(patience)
	if err != nil {
		t.Fatal("the server does not say that the message was terminated: ", err)
	}
	r.untilOutstanding(0)
	var said struct{ Reason string }
	if err := json.Unmarshal(advisory.Data, &said); err != nil {
		t.Fatal(err)
	}
	if _, tells := r.info().Config.Metadata["_nats.ver"]; tells && said.Reason == "" {
		t.Errorf("the server was told no reason, though it understands one: %s", advisory.Data)
	}
}

// With another policy an Ack takes others along that are pending, or nothing is acknowledged at all.
func TestConsumeRefusesWhatItCannotGuard(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	g, err := guard.New(&r.barriers, guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	handle := func(context.Context, jetstream.Msg) error { return nil }
	for _, policy := range []jetstream.AckPolicy{jetstream.AckAllPolicy, jetstream.AckNonePolicy} {
		c, err := r.stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: policy.String(), AckPolicy: policy})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience) // where it is taken, Consume goes on
		defer cancel()
		if err := Consume(ctx, c, g, Config{}, handle); err == nil {
			t.Errorf("Consume takes messages of a consumer with %v", policy)
		}
	}
	c, err := r.js.Consumer(t.Context(), "ORDERS", "workers")
	if err != nil {
		t.Fatal(err)
	}
	if err := Consume(t.Context(), c, g, Config{Workers: -1}, handle); err == nil {
		t.Error("Consume takes a negative number of workers")
	}
	if err := Consume(t.Context(), nil, g, Config{}, handle); err == nil {
		t.Error("Consume takes no consumer")
	}
}
