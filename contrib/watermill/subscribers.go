package guardwatermill

import (
	"context"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Subscribers returns a subscriber that subscribes count times to each topic, and hands out the messages of all these
// subscriptions as those of one. A subscription hands out a message and waits for its Ack, so that count bounds how many
// messages can be held or handled at once: those of transactions that are open at once, and Config.Workers.
//
// It is for a sub whose subscriptions to a topic share its messages: watermill-amqp with one queue, watermill-nats
// (pkg/jetstream) with one consumer. Where each subscription gets all messages, as gochannel's do, every message would
// run count times.
func Subscribers(sub message.Subscriber, count int) message.Subscriber {
	return &subscribers{sub, max(count, 1)}
}

type subscribers struct {
	message.Subscriber
	count int
}

// Subscribe implements message.Subscriber.
func (s *subscribers) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	all := make(chan *message.Message)
	var open sync.WaitGroup
	for range s.count {
		messages, err := s.Subscriber.Subscribe(ctx, topic)
		if err != nil {
			cancel() // which ends the others
			return nil, err
		}
		open.Go(func() {
			for m := range messages {
				select {
				case all <- m:
				case <-ctx.Done():
					m.Nack()
				}
			}
		})
	}
	go func() {
		open.Wait()
		cancel()
		close(all)
	}()
	return all, nil
}

// SubscribeInitialize implements message.SubscribeInitializer where the subscriber does.
func (s *subscribers) SubscribeInitialize(topic string) error {
	if sub, ok := s.Subscriber.(message.SubscribeInitializer); ok {
		return sub.SubscribeInitialize(topic)
	}
	return nil
}
