package guardrabbitmq

import (
	"errors"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestWhatHasNoQueueIsNotTakenForPublished(t *testing.T) {
	t.Parallel()
	s := newTrial(t, "classic", 20)
	queue := retryQueue(s.queue, firstStep)
	m := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")}
	if err := s.producer.publish(t.Context(), queue, firstStep, m); err != nil {
		t.Fatal(err)
	}
	onChannel(t, broker, func(c *amqp.Channel) error {
		_, err := c.QueueDelete(queue, false, false, false)
		return err
	})
	if err := s.producer.publish(t.Context(), queue, firstStep, m); !errors.Is(err, errReturned) {
		t.Errorf("the queue is gone, and publishing returned %v", err)
	}
	if err := s.producer.publish(t.Context(), queue, firstStep, m); err != nil {
		t.Errorf("the queue was not declared again: %v", err)
	}
}
