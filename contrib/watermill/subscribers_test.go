package guardwatermill

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
)

// A queue is a subscriber each of whose subscriptions hands out one message and waits for its end, as those of NATS
// and RabbitMQ do.
type queue struct {
	messages chan string
	fails    int // the subscription that fails; 0: none

	mu            sync.Mutex
	subscriptions int
	initialized   []string
	open          sync.WaitGroup
	closing       chan struct{}
}

var errSubscribe = errors.New("no such topic")

func (q *queue) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.subscriptions++; q.subscriptions == q.fails {
		return nil, errSubscribe
	}
	out := make(chan *message.Message)
	q.open.Go(func() {
		defer close(out)
		for {
			select {
			case payload := <-q.messages:
				m := message.NewMessageWithContext(ctx, "", []byte(payload))
				out <- m
				select {
				case <-m.Acked():
				case <-m.Nacked():
					q.messages <- payload
				}
			case <-ctx.Done():
				return
			case <-q.closing:
				return
			}
		}
	})
	return out, nil
}

func (q *queue) SubscribeInitialize(topic string) error {
	q.initialized = append(q.initialized, topic)
	return nil
}

func (q *queue) Close() error {
	close(q.closing)
	q.open.Wait()
	return nil
}

func TestSubscribersHandOutAsManyMessagesAtOnceAsTheyAre(t *testing.T) {
	t.Parallel()
	const count = 10
	q := &queue{messages: make(chan string, 2*count), closing: make(chan struct{})}
	for range 2 * count {
		q.messages <- "a"
	}
	sub := Subscribers(q, count)
	messages, err := sub.Subscribe(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	var held []*message.Message
	for range count {
		held = append(held, <-messages)
	}
	if n := len(q.messages); n != count {
		t.Errorf("%d messages are left in the queue, want %d", n, count)
	}
	held[0].Ack()
	(<-messages).Ack()
	for _, m := range held[1:] {
		m.Nack()
	}
	closed := make(chan error, 1)
	go func() { closed <- sub.Close() }()
	for m := range messages {
		m.Nack()
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := sub.(message.SubscribeInitializer).SubscribeInitialize("orders"); err != nil || len(q.initialized) != 1 {
		t.Errorf("the subscriber is not initialized: %v, %v", q.initialized, err)
	}
}

func TestASubscriptionThatFailsEndsTheOthers(t *testing.T) {
	t.Parallel()
	q := &queue{messages: make(chan string, 10), closing: make(chan struct{}), fails: 3}
	q.messages <- "a"
	if _, err := Subscribers(q, 5).Subscribe(t.Context(), "orders"); !errors.Is(err, errSubscribe) {
		t.Errorf("the error is %v", err)
	}
	q.open.Wait()
	if n := len(q.messages); n != 1 {
		t.Errorf("%d messages are in the queue, want the one that was there", n)
	}
}
