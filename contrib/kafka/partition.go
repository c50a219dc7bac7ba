package guardkafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pgbarrier/pgbarrier/guard"
)

// A partition is one that the group has given to this process. Its records are done with one after the other, in their
// order; the guard is asked about several of them ahead.
type partition struct {
	*consumer
	name place

	running context.Context // ends when the partition is taken away
	stop    context.CancelFunc
	alive   context.Context // ends when its handler has no more time
	kill    context.CancelFunc
	done    chan struct{} // closed when nothing runs for it
	asking  sync.WaitGroup

	came   chan struct{} // has an element when the queue has grown
	mu     sync.Mutex
	queue  []*delivery // what is not done with, in order
	asked  int         // for how many of the queue's first the guard is asked
	paused bool
}

// A delivery is a record that is not done with.
type delivery struct {
	record  *kgo.Record
	decided chan guard.Decision // gets the guard's
}

func (c *consumer) newPartition(name place) *partition {
	p := &partition{consumer: c, name: name, done: make(chan struct{}), came: make(chan struct{}, 1)}
	p.alive, p.kill = context.WithCancel(c.values)
	p.running, p.stop = context.WithCancel(c.running)
	return p
}

// add takes records that were fetched.
func (p *partition) add(records []*kgo.Record) {
	p.mu.Lock()
	for _, r := range records {
		p.queue = append(p.queue, &delivery{r, make(chan guard.Decision, 1)})
	}
	if len(p.queue) > p.config.Ahead && !p.paused {
		p.paused = true
		p.client.PauseFetchPartitions(map[string][]int32{p.name.topic: {p.name.partition}})
	}
	p.mu.Unlock()
	select {
	case p.came <- struct{}{}:
	default:
	}
}

// run does all that is to be done about the records, until the partition is taken away.
func (p *partition) run() {
	for {
		r, decision, ok := p.next()
		if !ok || !p.deliver(r, decision) {
			break // whoever has the partition next begins here
		}
		p.finish(r)
	}
	p.asking.Wait() // for what ends with running
	p.mu.Lock()
	p.queue = nil
	p.resume() // or it would be paused if it comes again
	p.mu.Unlock()
	close(p.done)
}

// next returns the first record of the queue, with the guard's decision, and asks the guard ahead meanwhile. It returns
// false when the partition is taken away.
func (p *partition) next() (r *kgo.Record, decision guard.Decision, ok bool) {
	for {
		var decided chan guard.Decision // nil: there is no first record
		if first := p.ask(); first != nil {
			r, decided = first.record, first.decided
		}
		select {
		case decision = <-decided:
			return r, decision, true
		case <-p.came:
		case <-p.running.Done():
			return nil, decision, false
		}
	}
}

// ask asks the guard about the first of the queue, as far as that was not done, and returns the very first, or nil.
func (p *partition) ask() *delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; p.asked < min(len(p.queue), p.config.Ahead); p.asked++ {
		d := p.queue[p.asked]
		// Each by itself: decisions about several take as long as the slowest of them. The waiter shares its checks.
		p.asking.Go(func() { d.decided <- p.guard.Hold(p.running, Headers(d.record)) })
	}
	if len(p.queue) == 0 {
		return nil
	}
	return p.queue[0]
}

// deliver does what the decision says, and reports whether the record is done with.
func (p *partition) deliver(r *kgo.Record, decision guard.Decision) bool {
	for failures := 0; ; {
		switch decision.Verdict {
		case guard.Run:
			called, err := p.call(r)
			if !called || err != nil && p.alive.Err() != nil {
				return false
			}
			if err == nil {
				return true
			}
			failures++
			p.config.Report(fmt.Errorf("pgbarrier: kafka: handle %s: attempt %d: %w", origin(r), failures, err))
			if failures >= p.config.Attempts {
				return p.bury(r, p.config.Dead, err)
			}
			sleep(p.running, p.config.Retry(failures, err))
		case guard.Drop:
			return true
		case guard.Reject:
			if errors.Is(decision.Err, guard.ErrPending) { // given up
				return p.bury(r, p.config.Parked, decision.Err)
			}
			return p.bury(r, p.config.Dead, decision.Err)
		}
		if p.running.Err() != nil {
			return false
		}
		// Also after a failure: the database may have failed over, and lost the transaction.
		decision = p.guard.Hold(p.running, Headers(r))
	}
}

// call calls the handler when a worker is free, and reports whether it was called: nothing begins any more when the
// partition is taken away.
func (p *partition) call(r *kgo.Record) (called bool, err error) {
	select {
	case p.workers <- struct{}{}:
	case <-p.running.Done():
		return false, nil
	}
	defer func() { <-p.workers }()
	if p.running.Err() != nil {
		return false, nil
	}
	return true, p.handle(p.alive, r)
}

// finish goes on behind a record that is done with.
func (p *partition) finish(r *kgo.Record) {
	p.commits.mark(p.name, kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue[0] = nil
	p.queue = p.queue[1:]
	p.asked--
	if len(p.queue) <= p.config.Ahead/2 {
		p.resume()
	}
}

// resume is called with mu held.
func (p *partition) resume() {
	if p.paused {
		p.paused = false
		p.client.ResumeFetchPartitions(map[string][]int32{p.name.topic: {p.name.partition}})
	}
}
