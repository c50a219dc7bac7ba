package guardrabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// publisherCount is how many messages are published at once.
const publisherCount = 16

// publishers publish to queues, and know when the broker has a message.
type publishers struct {
	conn *amqp.Connection
	work string
	idle chan *publisher // publisherCount of them, less those in use

	mu       sync.Mutex
	declared map[string]bool
}

// A publisher has a channel with one message at a time on it, so that it is known which one the broker returns.
type publisher struct {
	channel *amqp.Channel // nil: not opened yet
	returns chan amqp.Return
}

func newPublishers(conn *amqp.Connection, work string) *publishers {
	s := &publishers{conn: conn, work: work, idle: make(chan *publisher, publisherCount), declared: map[string]bool{}}
	for range publisherCount {
		s.idle <- new(publisher)
	}
	return s
}

var (
	errRefused  = errors.New("the broker has refused the message")
	errReturned = errors.New("the queue does not exist")
)

// publish returns nil when the broker has the message for certain. A step other than 0 says that the queue is a
// parking queue, which is declared first.
func (s *publishers) publish(ctx context.Context, queue string, step time.Duration, m amqp.Publishing) (err error) {
	var p *publisher
	select {
	case p = <-s.idle:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		if err != nil && p.channel != nil {
			_ = p.channel.Close() // a later confirm or return must not be taken for another message's
			p.channel = nil
		}
		s.idle <- p
	}()
	if err := s.open(p); err != nil {
		return err
	}
	if step > 0 {
		if err := s.declare(p, queue, step); err != nil {
			return err
		}
	}
	// Mandatory: what has no queue is confirmed too, and gone.
	confirm, err := p.channel.PublishWithDeferredConfirm("", queue, true, false, m)
	if err != nil {
		return err
	}
	ok, err := confirm.WaitContext(ctx)
	if err != nil {
		return err
	}
	select {
	case <-p.returns: // it comes before the confirm
		s.forget(queue)
		return fmt.Errorf("%w: %s", errReturned, queue)
	default:
	}
	if !ok {
		return errRefused
	}
	return nil
}

func (s *publishers) open(p *publisher) (err error) {
	if p.channel != nil && !p.channel.IsClosed() {
		return nil
	}
	if p.channel, err = s.conn.Channel(); err != nil {
		p.channel = nil
		return err
	}
	p.returns = p.channel.NotifyReturn(make(chan amqp.Return, 1))
	return p.channel.Confirm(false)
}

func (s *publishers) declare(p *publisher, queue string, step time.Duration) error {
	s.mu.Lock()
	declared := s.declared[queue]
	s.mu.Unlock()
	if declared {
		return nil
	}
	if _, err := p.channel.QueueDeclare(queue, true, false, false, false, parkingArguments(s.work, step)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.declared[queue] = true
	return nil
}

func (s *publishers) forget(queue string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.declared, queue)
}
