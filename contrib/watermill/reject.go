package guardwatermill

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/cenkalti/backoff/v5"
)

// A rejection is the error of a message that never may run.
type rejection struct{ reason error }

func (r *rejection) Error() string { return r.reason.Error() }
func (r *rejection) Unwrap() error { return r.reason }

// IsRejection reports whether err is the guard's, about a message that never may run: its barrier is expired, malformed
// or of another database, or it has none where one is required. It is a filter for middleware.PoisonQueueWithFilter,
// where the errors of handlers are for the broker to deliver again. errors.Is finds the reason in it.
func IsRejection(err error) bool {
	var r *rejection
	return errors.As(err, &r)
}

// rejectPause is between rejections that nobody takes.
const rejectPause = time.Second

// reject returns the error for a message that never may run. Where no Poison stands outside, or its publisher fails, the
// router gives the message back, and the broker would deliver it again at once, for ever.
func (c *consumer) reject(m *message.Message, reason error) error {
	c.mu.Lock()
	last := c.lastRejected
	c.lastRejected = m
	c.mu.Unlock()
	if last != nil && wasGivenBack(last) {
		c.complain(m, "a rejected message was not taken: no Poison stands outside of the guard, or it cannot publish")
		pause(m.Context(), rejectPause)
	}
	return backoff.Permanent(&rejection{reason}) // for a Retry that stands outside
}

func wasGivenBack(m *message.Message) bool {
	select {
	case <-m.Nacked():
		return true
	default:
		return false
	}
}

// isPoisonedElsewhere reports whether Poison has put the message into the topic that it comes from.
func isPoisonedElsewhere(m *message.Message) bool {
	_, isPoisoned := m.Metadata[middleware.ReasonForPoisonedKey]
	return isPoisoned && m.Metadata.Get(middleware.PoisonedTopicKey) != message.SubscribeTopicFromCtx(m.Context())
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
