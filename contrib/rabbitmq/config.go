package guardrabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Handler handles a message whose transaction has committed. An error is a failed attempt, see Config.Attempts.
//
// The context ends when the connection is lost, for the broker delivers the message again then, and not when the
// consumer stops: that waits for the handler. The delivery is settled by [Consume], its Ack returns an error.
type Handler func(ctx context.Context, d amqp.Delivery) error

// Config says what [Consume] consumes. Queue has no default.
type Config struct {
	// Queue is the work queue. It exists, is durable, and has a dead-letter exchange: without one the broker throws
	// rejected messages away.
	Queue string

	// Workers is how many calls of the handler there are at once. 10 by default.
	Workers int

	// Prefetch is how many messages the consumer has at most: those that are handled, that wait for a worker, and
	// that wait for their transaction. 100 by default, or twice as many as Workers if that is more.
	Prefetch int

	// Slots is how many of them are held while their transaction is pending. It leaves Workers messages of Prefetch.
	// One more is parked in the broker, but for guard.Config.Slots that wait for guard.Config.Budget first. Half of
	// what Workers leaves of Prefetch by default.
	Slots int

	// Hold is how long a message is held before it is parked as well. It, and the handler's time, are to stay below
	// the broker's consumer_timeout, which is 30 min unless somebody has changed it. 10 min by default.
	Hold time.Duration

	// Attempts is how often the handler may fail for a message before it is rejected. 20 by default.
	Attempts int

	// Backoff tells when a message comes again whose handler has failed so many times. By default after 250 ms, and
	// twice as long each time, up to 64 s. It is rounded up to a step of that series.
	Backoff func(failures int) time.Duration

	// Report, if not nil, is told what went wrong and was dealt with: a handler's error, a lost connection, a message
	// that could not be parked yet. It is called by many goroutines.
	Report func(error)
}

func (c Config) complete() (Config, error) {
	if c.Queue == "" {
		return c, errors.New("pgbarrier: rabbitmq: Config.Queue is empty")
	}
	if c.Workers < 0 || c.Prefetch < 0 || c.Slots < 0 || c.Attempts < 0 || c.Hold < 0 {
		return c, errors.New("pgbarrier: rabbitmq: Workers, Prefetch, Slots, Attempts and Hold cannot be negative")
	}
	if c.Workers == 0 {
		c.Workers = 10
	}
	if c.Prefetch == 0 {
		c.Prefetch = max(100, 2*c.Workers, c.Slots+c.Workers)
	}
	if c.Slots == 0 {
		c.Slots = max(1, (c.Prefetch-c.Workers)/2)
	}
	if c.Slots+c.Workers > c.Prefetch {
		return c, fmt.Errorf("pgbarrier: rabbitmq: Prefetch %d has no room for %d slots and %d workers", c.Prefetch, c.Slots, c.Workers)
	}
	if c.Prefetch > 65535 {
		return c, fmt.Errorf("pgbarrier: rabbitmq: Prefetch is %d, AMQP allows 65535", c.Prefetch)
	}
	if c.Hold == 0 {
		c.Hold = 10 * time.Minute
	}
	if c.Attempts == 0 {
		c.Attempts = 20
	}
	if c.Backoff == nil {
		c.Backoff = func(failures int) time.Duration { return firstStep << min(failures-1, steps-1) }
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	return c, nil
}
