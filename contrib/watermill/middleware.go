package guardwatermill

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgbarrier/pgbarrier/guard"
)

// Config changes how [Middleware] works. The zero Config is fine.
type Config struct {
	// Workers is how many calls of the next handler there may be at once, of all handlers together that the
	// middleware stands before. By default any number: as many messages as the subscribers hand out. What is held
	// takes no worker.
	Workers int

	// Logger, if not nil, is told what is wrong with how the router is put together, see [ErrMisplaced].
	Logger watermill.LoggerAdapter
}

// ErrMisplaced: the guard stands in the wrong place among the middlewares. Config.Logger is told, once for each way.
var ErrMisplaced = errors.New("pgbarrier: watermill: the guard is misplaced: want AddMiddleware(poison, guard, retry)")

// Middleware calls the next handler for messages whose transactions have committed. It acknowledges those that were
// rolled back, with no output, and holds those that are pending until the message's context ends; then it gives the
// message back by Nack, and returns no error for Poison or Retry to take. A message that never may run is an error, see
// [IsRejection], which no Retry repeats.
//
// g must not be nil. Its Budget, Slots and Delay have no use here.
func Middleware(g *guard.Guard, config Config) message.HandlerMiddleware {
	if g == nil {
		panic("pgbarrier: watermill: Middleware needs a guard")
	}
	c := &consumer{guard: g, logger: config.Logger}
	if c.logger == nil {
		c.logger = watermill.NopLogger{}
	}
	if config.Workers > 0 {
		c.workers = make(chan struct{}, config.Workers)
	}
	return c.middleware
}

// A consumer is one middleware, of any number of handlers.
type consumer struct {
	guard   *guard.Guard
	logger  watermill.LoggerAdapter
	workers chan struct{} // has an element for each call of the next handler; nil: no bound

	mu           sync.Mutex
	complaints   map[string]bool  // that were made
	lastRejected *message.Message // or nil
}

func (c *consumer) middleware(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		c.look(m)
		done := c.keepAlive(m)
		defer done()
		// As a Map an empty value is one, and malformed.
		d := c.guard.Hold(m.Context(), guard.Map(m.Metadata))
		switch d.Verdict {
		case guard.Run:
			return c.run(m, next)
		case guard.Drop:
			return nil, nil
		case guard.Reject:
			if isPoisonedElsewhere(m) {
				c.complain(m, "the guard stands before the poison topic's own consumer, which would poison for ever")
				return c.run(m, next)
			}
			return nil, c.reject(m, d.Err)
		}
		return c.giveBack(m)
	}
}

// run calls the next handler when a worker is free.
func (c *consumer) run(m *message.Message, next message.HandlerFunc) ([]*message.Message, error) {
	if c.workers == nil {
		return next(m)
	}
	select {
	case c.workers <- struct{}{}:
		defer func() { <-c.workers }()
		return next(m)
	case <-m.Context().Done():
		return c.giveBack(m)
	}
}

// giveBackPause is between the end of a message's context and its Nack. Nack is immediate, and until all of a subscriber has
// stopped it would deliver the message again and again.
const giveBackPause = 100 * time.Millisecond

// giveBack returns a message whose context has ended to its subscriber, which stops, or has given it up. The Ack that
// follows has no effect.
func (c *consumer) giveBack(m *message.Message) ([]*message.Message, error) {
	time.Sleep(giveBackPause)
	if !m.Nack() {
		c.complain(m, "a message was acknowledged before its transaction had ended, and is lost: InstantAck belongs inside")
	}
	return nil, nil
}

// look complains about middlewares that stand outside of the guard and must not.
func (c *consumer) look(m *message.Message) {
	if _, ok := m.Context().Deadline(); ok {
		c.complain(m, "a message has a deadline, after which it is delivered again though it is pending: Timeout belongs inside")
	}
	select {
	case <-m.Acked():
		c.complain(m, "a message is acknowledged before its transaction has ended: InstantAck belongs inside")
	default:
	}
}

// complain tells the logger, once, of what should not be.
func (c *consumer) complain(m *message.Message, what string) {
	c.mu.Lock()
	made := c.complaints[what]
	if c.complaints == nil {
		c.complaints = make(map[string]bool)
	}
	c.complaints[what] = true
	c.mu.Unlock()
	if !made {
		c.logger.Error(what, ErrMisplaced, fields(m.Context(), m))
	}
}

func fields(ctx context.Context, m *message.Message) watermill.LogFields {
	return watermill.LogFields{
		"message_uuid": m.UUID,
		"handler_name": message.HandlerNameFromCtx(ctx),
		"topic":        message.SubscribeTopicFromCtx(ctx),
	}
}
