package conformance

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// TestAMQP: the cases run at the same time on one broker, and then that which restarts it.
func TestAMQP(t *testing.T) {
	t.Parallel()
	b := startRabbit(t)
	adapter := guardtest.Adapter{
		Open: b.open, Restart: b.restart,
		Patience: 2 * time.Minute, // a broker takes half a minute to start on a full machine
		Lacks: map[guardtest.Feature]string{
			guardtest.Attempts:        "RabbitMQ's classic queues do not count; watermill's Retry does, in one process",
			guardtest.Deduplication:   "RabbitMQ has none; its plugin is not a part of it",
			guardtest.DatabaseRestart: "the server is shared by other tests, and the guard's own tests restart one",
		},
	}
	const restarts = "A restart of the broker loses nothing"
	t.Run("at once", func(t *testing.T) {
		for _, c := range guardtest.Cases() {
			if c.Name != restarts {
				t.Run(c.Name, func(t *testing.T) {
					t.Parallel()
					c.Run(t, database(t), adapter)
				})
			}
		}
	})
	found := false
	for _, c := range guardtest.Cases() {
		if c.Name == restarts {
			found = true
			t.Run(c.Name, func(t *testing.T) { c.Run(t, database(t), adapter) })
		}
	}
	if !found {
		t.Error("there is no case that restarts the broker")
	}
}

// A queue is one of the suite, with a second one for what is rejected.
type queue struct {
	*rabbit
	name   string
	killed sync.WaitGroup

	mu       sync.Mutex
	rejected []string
}

func (b *rabbit) open(t testing.TB, name string, _ int) guardtest.Queue {
	q := &queue{rabbit: b, name: name}
	if err := b.onChannel(func(c *amqp091.Channel) error {
		for _, name := range []string{name, deadTopic(name)} {
			if _, err := c.QueueDeclare(name, true, false, false, false, nil); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		q.killed.Wait()
		if err := b.onChannel(func(c *amqp091.Channel) error {
			for _, name := range []string{name, deadTopic(name)} {
				if _, err := c.QueueDelete(name, false, false, false); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	return guardtest.Queue{Publish: q.publish, Consume: q.consume, Dead: q.dead}
}

func (b *rabbit) onChannel(f func(c *amqp091.Channel) error) error {
	conn, err := amqp091.Dial(b.url())
	if err != nil {
		return err
	}
	defer conn.Close()
	channel, err := conn.Channel()
	if err != nil {
		return err
	}
	return f(channel)
}

func (q *queue) publish(ctx context.Context, m guardtest.Message) error {
	made, err := newMessage(ctx, m)
	if err != nil {
		return err
	}
	return q.Publish(q.name, made)
}

func (q *queue) dead(context.Context) ([]string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	err := q.onChannel(func(c *amqp091.Channel) error {
		for {
			d, ok, err := c.Get(deadTopic(q.name), true)
			if err != nil || !ok {
				return err
			}
			q.rejected = append(q.rejected, string(d.Body))
		}
	})
	return slices.Clone(q.rejected), err
}

func (q *queue) consume(w guardtest.Worker) (guardtest.Running, error) {
	l, log := newLine(), newLogger()
	config := amqp.NewDurableQueueConfig(q.url())
	config.Connection.AmqpConfig = &amqp091.Config{Dial: l.dial, Heartbeat: 10 * time.Second}
	config.Connection.Reconnect = &amqp.ReconnectConfig{
		BackoffInitialInterval: 50 * time.Millisecond, BackoffMultiplier: 1, BackoffMaxInterval: 50 * time.Millisecond,
	}
	sub, err := amqp.NewSubscriber(config, log)
	if err != nil {
		return guardtest.Running{}, err
	}
	p, err := start(w, q.name, sub, q, log)
	if err != nil {
		return guardtest.Running{}, err
	}
	end := func() error {
		gone := log.logged("Stopping handleConnectionClose")
		err := p.close()
		l.mend() // or the subscriber's goroutine that connects again would never end
		<-gone
		l.cut()
		return err
	}
	return guardtest.Running{
		Stop: end,
		Kill: func() {
			l.cut()
			q.killed.Go(func() { _ = end() })
		},
	}, nil
}

// Publish implements message.Publisher. It connects anew after a restart of the broker.
func (b *rabbit) Publish(topic string, messages ...*message.Message) error {
	publisher, err := b.connected()
	if err != nil {
		return err
	}
	return publisher.Publish(topic, messages...)
}

// Close implements message.Publisher.
func (b *rabbit) Close() error { return nil }

func (b *rabbit) connected() (*amqp.Publisher, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.publisher != nil {
		return b.publisher, nil
	}
	config := amqp.NewDurableQueueConfig(b.url())
	config.Publish.ConfirmDelivery = true
	publisher, err := amqp.NewPublisher(config, newLogger())
	if err != nil {
		return nil, err
	}
	b.publisher = publisher
	return publisher, nil
}

func (b *rabbit) disconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.publisher != nil {
		_ = b.publisher.Close()
		b.publisher = nil
	}
}
