package guardjetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier/guard"
)

const (
	// soon is how long a decision may take before its message counts as held: long enough for a check. Messages of a
	// transaction that others are held for already count at once.
	soon = 20 * time.Millisecond

	ackTimeout, ackPause = 5 * time.Second, 100 * time.Millisecond
)

// A delivery is a message that this process has and that is not done with.
type delivery struct {
	place uint64 // in the stream

	mu      sync.Mutex
	msg     jetstream.Msg // the last copy: the server has sent it again if it did not hear of us in time
	number  int           // of that copy, 1 for the first
	settled bool          // nothing more is sent about it
}

// arrive begins with a message, unless that is a copy of one that this process has. It reports whether the message
// takes up the room that was reserved for it.
func (c *consumer) arrive(m jetstream.Msg) bool {
	meta, err := m.Metadata()
	if err != nil {
		c.report(fmt.Errorf("pgbarrier: jetstream: read a message's metadata: %w", err))
		return false
	}
	place, number := meta.Sequence.Stream, int(meta.NumDelivered)
	c.mu.Lock()
	d := c.deliveries[place]
	if d == nil {
		d = &delivery{place: place, msg: m, number: number}
		c.deliveries[place] = d
		c.mu.Unlock()
		c.tasks.Go(func() { c.deliver(d) })
		return true
	}
	c.mu.Unlock()
	d.mu.Lock()
	d.msg, d.number = m, number
	d.mu.Unlock()
	return false
}

// current returns the copy of the message that the server knows, and which delivery it is.
func (d *delivery) current() (jetstream.Msg, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.msg, d.number
}

// isLast reports whether the server would not deliver the message again.
func (c *consumer) isLast(d *delivery) bool {
	_, number := d.current()
	return c.maxDeliver > 0 && number >= c.maxDeliver
}

// deliver does all that is to be done about a message.
func (c *consumer) deliver(d *delivery) {
	room := c.taken
	decided, moved := make(chan struct{}), make(chan struct{})
	m, _ := d.current()
	header := m.Headers().Get(guard.Header)
	patience := soon
	if c.count(header, 0) > 0 {
		patience = 0
	}
	late := time.AfterFunc(patience, func() {
		defer close(moved)
		select {
		case c.held <- struct{}{}: // beside, so that others are taken meanwhile
			room = c.held
			c.count(header, 1)
			<-c.taken
		case <-decided:
		}
	})
	decision := c.decide(d)
	close(decided)
	if !late.Stop() {
		<-moved
	}
	if room == c.held {
		c.count(header, -1)
	}
	defer func() { <-room }()

	switch decision.Verdict {
	case guard.Run:
		c.run(d)
	case guard.Drop:
		c.ack(d)
	case guard.Reject:
		c.settle(d, func(m jetstream.Msg) error { return c.terminate(m, decision.Err) })
	default:
		c.giveBack(d)
	}
}

// count adds to how many messages with the header are held and pending, and returns that.
func (c *consumer) count(header string, change int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending[header] += change; c.pending[header] == 0 {
		delete(c.pending, header)
	}
	return c.pending[header]
}

// decide waits for the message's transactions, until c stops. On the last delivery it goes on as long as there is time.
func (c *consumer) decide(d *delivery) guard.Decision {
	m, _ := d.current()
	decision := c.guard.Hold(c.running, m.Headers())
	if decision.Verdict == guard.Later && c.isLast(d) {
		decision = c.guard.Hold(c.alive, m.Headers())
	}
	return decision
}

// run calls the handler when a worker is free.
func (c *consumer) run(d *delivery) {
	if !c.work(d) {
		c.giveBack(d)
		return
	}
	m, _ := d.current()
	err := c.handle(c.alive, m)
	<-c.workers
	if err == nil {
		c.ack(d)
		return
	}
	if c.isLast(d) { // it has failed for good, and the server says so at once
		c.settle(d, jetstream.Msg.Nak)
		return
	}
	c.awaitOthers()
	_, number := d.current()
	retry := c.config.Retry(number, err)
	c.settle(d, func(m jetstream.Msg) error { return m.NakWithDelay(retry) })
}

// work waits for a free worker, and reports whether the handler may be called: nothing begins any more when c stops,
// unless it could not begin later.
func (c *consumer) work(d *delivery) bool {
	select {
	case c.workers <- struct{}{}:
	case <-c.running.Done():
		if !c.isLast(d) {
			return false
		}
		select {
		case c.workers <- struct{}{}:
		case <-c.alive.Done():
			return false
		}
	}
	if c.alive.Err() != nil || c.running.Err() != nil && !c.isLast(d) {
		<-c.workers
		return false
	}
	return true
}

// ack takes the message from the queue. Until the server has confirmed that, the message is not forgotten: if the
// acknowledgement is lost, and the message comes again, it is not handled again.
func (c *consumer) ack(d *delivery) {
	for c.alive.Err() == nil {
		m, _ := d.current()
		ctx, cancel := context.WithTimeout(c.alive, ackTimeout)
		err := m.DoubleAck(ctx)
		cancel()
		if err == nil || errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			c.forget(d)
			return
		}
		if errors.Is(err, nats.ErrConnectionClosed) {
			break
		}
		c.report(fmt.Errorf("pgbarrier: jetstream: acknowledge a message: %w", err))
		sleep(c.alive, ackPause)
	}
	c.settle(d, jetstream.Msg.Ack)
}

// giveBack has the message delivered again, to whoever asks next. The server counts that as a delivery, so that it is
// done only when c stops, and not on the last one.
func (c *consumer) giveBack(d *delivery) {
	if !c.isLast(d) {
		c.awaitOthers()
		c.settle(d, jetstream.Msg.Nak)
		return
	}
	c.forget(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = append(c.lost, d.place)
}

// awaitOthers waits, when c stops, until the message can only come to other processes: the server would send it to the
// request for messages that is still open, again and again, and each time would count.
func (c *consumer) awaitOthers() {
	if c.running.Err() != nil {
		<-c.pulled
	}
}

// terminate takes the message from the queue for good. The server says so in an advisory, with the reason.
func (c *consumer) terminate(m jetstream.Msg, reason error) error {
	if c.reasons && reason != nil {
		return m.TermWithReason(reason.Error())
	}
	return m.Term()
}

// settle forgets the message and tells the server what has become of it. In this order: the next copy is a new delivery.
func (c *consumer) settle(d *delivery, tell func(jetstream.Msg) error) {
	c.forget(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := tell(d.msg); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		c.report(fmt.Errorf("pgbarrier: jetstream: settle a message: %w", err))
	}
}

func (c *consumer) forget(d *delivery) {
	c.mu.Lock()
	delete(c.deliveries, d.place)
	c.mu.Unlock()
	d.mu.Lock()
	d.settled = true
	d.mu.Unlock()
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
