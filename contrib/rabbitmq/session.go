package guardrabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier/guard"
)

// A session is a consumer's with one pair of connections. What it has not acknowledged at its end the broker
// delivers again.
type session struct {
	*consumer
	channel *amqp.Channel
	pool    *publishers

	// alive ends when a connection is lost, waiting also when the consumer stops. Both end by being canceled.
	alive, waiting context.Context

	slots chan struct{} // has an element for each message that is held
}

// closeTimeout is how long an orderly stop waits for a broker that does not answer.
const closeTimeout = 5 * time.Second

// session consumes until ctx ends or a connection is lost. It reports whether it has begun to.
func (c *consumer) session(ctx context.Context, dial Dial) (consumed bool, err error) {
	consuming, err := dial()
	if err != nil {
		return false, err
	}
	defer closeConnection(consuming)
	publishing, err := dial()
	if err != nil {
		return false, err
	}
	defer closeConnection(publishing)

	alive, lose := context.WithCancelCause(context.WithoutCancel(ctx))
	waiting, stopWaiting := context.WithCancel(alive)
	defer stopWaiting()
	channel, err := consuming.Channel()
	if err != nil {
		lose(err)
		return false, err
	}
	var watches sync.WaitGroup
	defer func() {
		lose(nil)
		watches.Wait()
	}()
	for _, closed := range []chan *amqp.Error{
		consuming.NotifyClose(make(chan *amqp.Error, 1)),
		publishing.NotifyClose(make(chan *amqp.Error, 1)),
		channel.NotifyClose(make(chan *amqp.Error, 1)),
	} {
		watches.Go(func() {
			select {
			case err := <-closed:
				if err != nil {
					lose(err)
					return
				}
				lose(amqp.ErrClosed)
			case <-alive.Done():
			}
		})
	}
	s := &session{
		consumer: c, channel: channel, pool: newPublishers(publishing, c.Queue), alive: alive, waiting: waiting,
		slots: make(chan struct{}, c.Slots),
	}
	if err := channel.Qos(c.Prefetch, 0, false); err != nil {
		return false, err
	}
	const tag = "pgbarrier" // of the channel's one consumer
	deliveries, err := channel.Consume(c.Queue, tag, false, false, false, false, nil)
	if err != nil {
		return false, err
	}

	c.tasks.Go(func() { s.hasten(publishing) })
	stopping := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopping)
		// First, or what goes back would be delivered here again.
		_ = channel.Cancel(tag, false)
		stopWaiting()
	})
	for d := range deliveries { // no more than Prefetch at once
		c.tasks.Go(func() { s.deliver(d) })
	}
	if unhook() {
		// Not by us: the connection is lost, or the queue deleted. Handlers may go on, and keep their workers.
		lose(errors.New("the broker has canceled the consumer"))
		return true, context.Cause(alive)
	}
	<-stopping
	c.tasks.Wait()
	return true, nil
}

func closeConnection(c *amqp.Connection) { _ = c.CloseDeadline(time.Now().Add(closeTimeout)) }

// deliver deals with one message. Errors of what settles it are not looked at: they mean that the connection is lost,
// and then the broker delivers the message again.
func (s *session) deliver(d amqp.Delivery) {
	m := restore(d, s.Queue)
	decision := s.decide(m)
	if s.alive.Err() != nil {
		return
	}
	switch decision.Verdict {
	case guard.Run:
		select {
		case s.workers <- struct{}{}:
			s.run(m)
		case <-s.waiting.Done():
			s.giveBack(m)
		}
	case guard.Drop:
		_ = m.Ack(false)
	case guard.Reject:
		_ = m.Reject(false)
	case guard.Later:
		if decision.After == 0 {
			s.giveBack(m)
			return
		}
		step := roundUp(decision.After)
		decision.After = step
		queue := parkingQueue(s.Queue, step, m.Headers)
		if s.park(m, queue, step) {
			s.guard.Wake(s.stopped, decision, func(context.Context) error { s.due.add(queue); return nil })
		}
	}
}

// decide holds a message if there is a slot for it, and asks once if not.
func (s *session) decide(m *message) guard.Decision {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		ctx, cancel := context.WithTimeout(s.waiting, s.Hold)
		defer cancel()
		return s.guard.Hold(ctx, Headers(m.Headers))
	default:
		return s.guard.Decide(s.waiting, Headers(m.Headers))
	}
}

func (s *session) run(m *message) {
	d := m.Delivery
	d.Acknowledger = nil
	err := s.handle(s.alive, d)
	<-s.workers
	if s.alive.Err() != nil {
		return
	}
	if err == nil {
		_ = m.Ack(false)
		return
	}
	m.failures++
	s.Report(fmt.Errorf("pgbarrier: rabbitmq: attempt %d of %d: %w", m.failures, s.Attempts, err))
	if m.failures >= s.Attempts {
		_ = m.Reject(false)
		return
	}
	// Not by a nack: of a classic queue it comes again at once and is not counted, and of a quorum queue it is counted
	// together with deliveries that were only lost.
	step := roundUp(s.Backoff(m.failures))
	s.park(m, retryQueue(s.Queue, step), step)
}
