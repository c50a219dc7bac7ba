package relayhttp

import (
	"context"
	"slices"
	"time"
)

// maxStreams is how many requests there are before the next one takes the waits of others over.
const maxStreams = 8

// requestTime is how long one request waits. What was true when a relay sent it is not believed for longer.
const requestTime = 30 * time.Second

// A batch is one request with its waits. Guarded by the client's mu, but for what does not change.
type batch struct {
	cancel context.CancelFunc
	waits  map[uint64]*wait
}

func (b *batch) leave(w *wait) {
	w.batch = nil
	if delete(b.waits, w.id); len(b.waits) == 0 {
		b.cancel()
	}
}

// send sends the queue, one request after the other, until it is empty. So waits that begin while a request is
// under way share the next, and a relay that has died is asked again by one request, not by all at once.
func (c *Client) send() {
	for {
		pause := c.pause()
		if pause > 0 {
			select {
			case <-time.After(pause):
			case <-c.life.Done():
			}
		}
		b := c.next()
		if b == nil {
			return
		}
		c.open(b)
	}
}

// next returns a batch with the waits that are to be sent, or nil.
func (c *Client) next() *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{waits: make(map[uint64]*wait)}
	rest := c.queue[:0]
	for _, w := range c.queue {
		switch {
		case c.waits[w.id] != w || w.batch != nil: // it was stopped, or taken over, meanwhile
		case len(b.waits) < c.config.MaxBatch:
			b.waits[w.id] = w
		default:
			rest = append(rest, w)
		}
	}
	clear(c.queue[len(rest):])
	c.queue = rest
	if c.closed || len(b.waits) == 0 {
		c.sending = false
		return nil
	}
	c.takeOver(b)
	return b
}

// takeOver adds the waits of smaller batches, so that there are few requests, and a wait is sent again as often as
// the number of waits doubles. They stay where they are until the relay has taken b.
func (c *Client) takeOver(b *batch) {
	if len(c.batches) < maxStreams {
		return
	}
	bySize := make([]*batch, 0, len(c.batches))
	for other := range c.batches {
		bySize = append(bySize, other)
	}
	slices.SortFunc(bySize, func(x, y *batch) int { return len(x.waits) - len(y.waits) })
	for i, other := range bySize {
		if len(b.waits)+len(other.waits) > c.config.MaxBatch || i > 0 && len(other.waits) > len(b.waits) {
			return
		}
		for id, w := range other.waits {
			b.waits[id] = w
		}
	}
}

// taken makes the waits that are still wanted b's own.
func (c *Client) taken(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, w := range b.waits {
		if c.waits[id] != w {
			delete(b.waits, id)
			continue
		}
		if w.batch != nil {
			w.batch.leave(w)
		}
		w.batch = b
	}
	c.batches[b] = struct{}{}
	if len(b.waits) == 0 {
		b.cancel()
	}
}

// give takes back what b's request has left without an outcome, to be sent again.
func (c *Client) give(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.batches, b)
	var left []*wait
	for id, w := range b.waits {
		// What it was to take over and has not is another's.
		if c.waits[id] == w && (w.batch == b || w.batch == nil) {
			left = append(left, w)
		}
	}
	slices.SortFunc(left, func(x, y *wait) int { return int(x.id) - int(y.id) })
	c.enqueue(left...)
}
