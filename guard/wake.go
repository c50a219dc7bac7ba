package guard

import (
	"context"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

const (
	// maxWakes bounds the memory for messages that are to be hastened, about 1 kB each. Further ones come
	// after their Delay.
	maxWakes = 50_000

	// maxWakers is how many calls are made at once when many transactions end.
	maxWakers = 8

	minWakePause, maxWakePause = 5 * time.Millisecond, time.Second
)

// Wake hastens a message that the verdict d, Later, gives back: hasten is called as soon as the message's
// transactions have all committed, or one of them has not, and moves the message to the front
// (asynq's Inspector.RunTask, River's JobRetry). If it returns an error, for the message may not have
// been given back yet, it is called again after growing pauses.
//
// Wake returns at once and costs no goroutine and no check for each message. It forgets the message after
// d.After, when it comes by itself, and when ctx ends, which is the worker's and not the message's.
// hasten is called with ctx by a few goroutines, that live while there is something to call. It is not
// called where nothing can be learned; the message then comes after its delay.
//
// With a [Waiter] that is no [FuncWaiter] one goroutine checks for all such messages together, ten times a
// second at most, for as long as there are any.
func (g *Guard) Wake(ctx context.Context, d Decision, hasten func(context.Context) error) {
	if d.Verdict == Later && d.After > 0 && len(d.Tokens) > 0 && ctx.Err() == nil {
		g.wakes.add(&wake{ctx: ctx, hasten: hasten, until: time.Now().Add(d.After)}, d.Tokens)
	}
}

// wakes are the messages that are to be hastened.
type wakes struct {
	waiter FuncWaiter // needs no goroutine for a wait

	mu     sync.Mutex
	size   int     // that have not ended
	due    []*wake // to be called, oldest first
	wakers int     // goroutines that call
}

// A wake is one message's.
type wake struct {
	ctx    context.Context
	hasten func(context.Context) error
	until  time.Time
	pause  time.Duration // before the next call; only whoever calls uses it

	// Guarded by wakes.mu.
	waiting bool // for its transactions
	stops   []func()
}

func newWakes(w Waiter) *wakes {
	if waiter, ok := w.(FuncWaiter); ok {
		return &wakes{waiter: waiter}
	}
	return &wakes{waiter: &poller{Waiter: w}}
}

func (s *wakes) add(k *wake, tokens []pgbarrier.Token) {
	s.mu.Lock()
	if s.size >= maxWakes {
		s.mu.Unlock()
		return
	}
	s.size++
	k.waiting = true
	s.mu.Unlock()

	// Each of these may call before the others have begun.
	forget := func() { s.forget(k) }
	timer := time.AfterFunc(time.Until(k.until), forget)
	unhook := context.AfterFunc(k.ctx, forget)
	stop := s.waiter.WaitFunc(func(err error) { s.ended(k, err) }, tokens...)
	stops := []func(){func() { timer.Stop() }, func() { unhook() }, stop}
	s.mu.Lock()
	waiting := k.waiting
	if waiting {
		k.stops = stops
	}
	s.mu.Unlock()
	if !waiting {
		runAll(stops)
	}
}

// ended makes a message due whose wait has ended.
func (s *wakes) ended(k *wake, err error) {
	s.mu.Lock()
	if !k.waiting {
		s.mu.Unlock()
		return
	}
	k.waiting = false
	stops := k.stops
	if k.stops = nil; hasOutcome(err) {
		s.call(k)
	} else {
		s.size--
	}
	s.mu.Unlock()
	if len(stops) > 0 {
		runAll(stops[:len(stops)-1]) // not the wait, which has ended
	}
}

func (s *wakes) forget(k *wake) {
	s.mu.Lock()
	if !k.waiting {
		s.mu.Unlock()
		return
	}
	k.waiting = false
	stops := k.stops
	k.stops = nil
	s.size--
	s.mu.Unlock()
	runAll(stops)
}

// call makes k the last of those that are due. It is called with mu held.
func (s *wakes) call(k *wake) {
	s.due = append(s.due, k)
	if s.wakers < maxWakers {
		s.wakers++
		go s.run()
	}
}

// run calls what is due, until nothing is.
func (s *wakes) run() {
	for {
		s.mu.Lock()
		if len(s.due) == 0 {
			s.due = nil
			s.wakers--
			s.mu.Unlock()
			return
		}
		k := s.due[0]
		s.due[0] = nil
		s.due = s.due[1:]
		s.mu.Unlock()

		again := false
		if k.ctx.Err() == nil && time.Now().Before(k.until) {
			again = k.hasten(k.ctx) != nil
		}
		if again {
			k.pause = min(max(2*k.pause, minWakePause), maxWakePause)
			time.AfterFunc(k.pause, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.call(k)
			})
			continue
		}
		s.mu.Lock()
		s.size--
		s.mu.Unlock()
	}
}

func runAll(stops []func()) {
	for _, stop := range stops {
		stop()
	}
}
