package guardrabbitmq

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier/guard"
)

// Messages that are not to run yet are parked in queues without a consumer, from which the broker moves them back to
// the work queue when their time is over. A queue looks at that of its first message only, so there is a queue for each
// length of time.
const (
	firstStep = 250 * time.Millisecond
	steps     = 9 // each twice as long as the one before: up to 64 s

	// buckets spread the transactions, so that the end of one does not move the parked messages of all.
	buckets = 8

	infix = ".pgbarrier."
)

// roundUp returns the step for a length of time.
func roundUp(d time.Duration) time.Duration {
	step := firstStep
	for range steps - 1 {
		if step >= d {
			break
		}
		step *= 2
	}
	return step
}

// parkingQueue is where messages wait that carry the same barriers as this one.
func parkingQueue(work string, step time.Duration, headers amqp.Table) string {
	h := fnv.New32a()
	h.Write([]byte(strings.Join(Headers(headers).Values(guard.Header), ",")))
	return parkedQueue(work, step, h.Sum32()%buckets)
}

func parkedQueue(work string, step time.Duration, bucket uint32) string {
	return fmt.Sprintf("%s%sparked.%d.%d", work, infix, step.Milliseconds(), bucket)
}

// retryQueue is where messages wait whose handler has failed. Nothing hastens them.
func retryQueue(work string, step time.Duration) string {
	return fmt.Sprintf("%s%sretry.%d", work, infix, step.Milliseconds())
}

// parkingArguments are those of a parking queue. It is a quorum queue also where the work queue is a classic one: a
// classic queue drops a message that it moves before the other queue has it on disk.
func parkingArguments(work string, step time.Duration) amqp.Table {
	return amqp.Table{
		"x-queue-type":              "quorum",
		"x-message-ttl":             step.Milliseconds(),
		"x-dead-letter-exchange":    "",
		"x-dead-letter-routing-key": work,
		"x-dead-letter-strategy":    "at-least-once",
		"x-overflow":                "reject-publish", // which that strategy wants
	}
}

// park publishes a message to a parking queue and, when the broker has it, acknowledges the one that was delivered.
// It tries until the connection is lost or the consumer stops, and reports whether it did.
func (s *session) park(m *message, queue string, step time.Duration) bool {
	for s.alive.Err() == nil {
		err := s.pool.publish(s.alive, queue, step, m.publishing())
		if err == nil {
			return m.Ack(false) == nil
		}
		if s.alive.Err() != nil {
			return false
		}
		s.Report(fmt.Errorf("pgbarrier: rabbitmq: parking a message: %w", err))
		sleep(s.waiting, time.Second)
		if s.waiting.Err() != nil {
			return s.giveBack(m)
		}
	}
	return false
}

// giveBack publishes a message to the end of its own queue, for another worker. If that fails the broker gives it back
// at the session's end, which a quorum queue counts.
func (s *session) giveBack(m *message) bool {
	ctx, cancel := context.WithTimeout(s.alive, closeTimeout)
	defer cancel()
	if err := s.pool.publish(ctx, s.Queue, 0, m.publishing()); err != nil {
		if s.alive.Err() == nil {
			s.Report(fmt.Errorf("pgbarrier: rabbitmq: giving a message back: %w", err))
		}
		return false
	}
	return m.Ack(false) == nil
}
