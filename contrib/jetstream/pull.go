package guardjetstream

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullWait is how long one request for messages is open, and so how long a stop may take. A request that is
	// given up sooner would lose what the server is just sending: a delivery burnt, and AckWait to wait.
	pullWait = time.Second

	minPullPause, maxPullPause = 50 * time.Millisecond, time.Second
)

// pull takes messages from the server until c stops, no more than there is room for: what waits in a client's buffer
// has nobody who tells the server that it is in progress, and is kept from other processes.
func (c *consumer) pull() error {
	pause := minPullPause
	for {
		n := c.reserve()
		if n == 0 {
			return nil
		}
		began := time.Now()
		err := c.fetch(n)
		// The server ends a request after pullWait. If nobody has, it is away, or the consumer was deleted between two
		// requests: that is told only to those who ask.
		if errors.Is(err, nats.ErrNoResponders) || err == nil && time.Since(began) > 3*pullWait/2 {
			if _, err = c.Info(c.running); c.running.Err() != nil {
				return nil
			}
		}
		switch {
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, jetstream.ErrBadRequest), errors.Is(err, jetstream.ErrConsumerDeleted),
			errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
			return fmt.Errorf("pgbarrier: jetstream: take messages: %w", err)
		case err != nil:
			c.report(fmt.Errorf("pgbarrier: jetstream: take messages: %w", err))
			sleep(c.running, pause)
			pause = min(2*pause, maxPullPause)
		default:
			pause = minPullPause
		}
	}
}

// reserve waits until there is room for a message, and returns for how many there is. It returns 0 when c stops.
func (c *consumer) reserve() (n int) {
	if c.running.Err() != nil {
		return 0
	}
	select {
	case c.taken <- struct{}{}:
	case <-c.running.Done():
		return 0
	}
	most := cap(c.taken)
	if c.limits.MaxRequestBatch > 0 {
		most = min(most, c.limits.MaxRequestBatch)
	}
	for n = 1; n < most; n++ {
		select {
		case c.taken <- struct{}{}:
		default:
			return n
		}
	}
	return n
}

// fetch takes up to n messages, for which room is reserved. It ends with the request.
func (c *consumer) fetch(n int) error {
	defer func() {
		for range n {
			<-c.taken
		}
	}()
	wait := pullWait
	if c.limits.MaxRequestExpires > 0 {
		wait = min(wait, c.limits.MaxRequestExpires)
	}
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(wait))
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		if c.arrive(m) {
			n--
		}
	}
	return batch.Error()
}
