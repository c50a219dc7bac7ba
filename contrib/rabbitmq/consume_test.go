package guardrabbitmq

import (
	"context"
	"errors"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier/guard"
)

func TestAQueueThatDoesNotExistIsAnError(t *testing.T) {
	t.Parallel()
	g, err := guard.New(guard.Eager, guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (*amqp.Connection, error) { return amqp.Dial(broker.URL) }
	handle := func(context.Context, amqp.Delivery) error { return nil }
	err = Consume(t.Context(), dial, g, Config{Queue: "nothing"}, handle)
	var refused *amqp.Error
	if !errors.As(err, &refused) || refused.Code != amqp.NotFound || !strings.HasPrefix(err.Error(), "pgbarrier: rabbitmq: ") {
		t.Errorf("%v", err)
	}
}
