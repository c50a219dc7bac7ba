package guardrabbitmq

import (
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// due are the parking queues with messages of transactions that have ended.
type due struct {
	mu     sync.Mutex
	queues map[string]bool
	signal chan struct{} // has an element if there may be some
}

func newDue() *due { return &due{queues: map[string]bool{}, signal: make(chan struct{}, 1)} }

func (d *due) add(queue string) {
	d.mu.Lock()
	d.queues[queue] = true
	d.mu.Unlock()
	select {
	case d.signal <- struct{}{}:
	default:
	}
}

func (d *due) take() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	queues := d.queues
	d.queues = map[string]bool{}
	return queues
}

// maxMoves is how many messages are moved at once.
const maxMoves = publisherCount / 2

// hasten moves messages from the parking queues that are due to the work queue. Those of other transactions that
// are in such a queue come along, are decided about, and parked again. So that this cannot be all that the broker
// does, there are pauses as long as what was done.
func (s *session) hasten(conn *amqp.Connection) {
	for {
		select {
		case <-s.waiting.Done():
			return
		case <-s.due.signal:
		}
		began := time.Now()
		for queue := range s.due.take() {
			if err := s.empty(conn, queue); err != nil && s.waiting.Err() == nil {
				// The messages come when their time is over.
				s.Report(fmt.Errorf("pgbarrier: rabbitmq: hastening what is parked in %q: %w", queue, err))
			}
		}
		sleep(s.waiting, time.Since(began))
	}
}

// empty moves as many messages as a queue has at the beginning.
func (s *session) empty(conn *amqp.Connection, queue string) error {
	channel, err := conn.Channel()
	if err != nil {
		return err
	}
	defer channel.Close()
	var moves sync.WaitGroup
	defer moves.Wait()
	room := make(chan struct{}, maxMoves)
	left := -1 // not known yet
	for left != 0 && s.waiting.Err() == nil {
		d, ok, err := channel.Get(queue, false)
		if err != nil || !ok {
			return err
		}
		if left < 0 {
			left = int(d.MessageCount) + 1
		}
		left--
		room <- struct{}{}
		moves.Go(func() {
			defer func() { <-room }()
			m := restore(d, s.Queue)
			if s.pool.publish(s.alive, s.Queue, 0, m.publishing()) == nil {
				_ = m.Ack(false)
			}
		})
	}
	return nil
}
