package guard

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// withWaitFunc returns w with WaitFunc. One that it lacks takes a goroutine, which suits those who wait
// in a goroutine of their own anyway.
func withWaitFunc(w Waiter) FuncWaiter {
	if waiter, ok := w.(FuncWaiter); ok {
		return waiter
	}
	return blocking{w}
}

type blocking struct{ Waiter }

func (b blocking) WaitFunc(f func(error), tokens ...pgbarrier.Token) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := b.Wait(ctx, tokens...)
		if ctx.Err() == nil {
			f(err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

const pollPause = 100 * time.Millisecond

// poller gives a Waiter a WaitFunc that is bounded: one goroutine, one check at a time. It is late by a
// check's pause, and does not tell whether all were committed at once, so that it only serves to hasten.
type poller struct {
	Waiter

	mu      sync.Mutex
	waits   map[*polled]struct{}
	running bool
}

type polled struct {
	tokens []pgbarrier.Token
	f      func(error)
}

func (p *poller) WaitFunc(f func(error), tokens ...pgbarrier.Token) (stop func()) {
	w := &polled{tokens, f}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits == nil {
		p.waits = make(map[*polled]struct{})
	}
	p.waits[w] = struct{}{}
	if !p.running {
		p.running = true
		go p.run()
	}
	return func() { p.take(w) }
}

// take reports whether w had not ended, and ends it.
func (p *poller) take(w *polled) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, waiting := p.waits[w]
	delete(p.waits, w)
	return waiting
}

// run checks until nothing is waited for.
func (p *poller) run() {
	for {
		time.Sleep(pollPause)
		if waits := p.all(); len(waits) > 0 {
			p.ask(waits)
		}
		p.mu.Lock()
		p.running = len(p.waits) > 0
		running := p.running
		p.mu.Unlock()
		if !running {
			return
		}
	}
}

func (p *poller) all() []*polled {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.waits))
}

func (p *poller) ask(waits []*polled) {
	known := make(map[pgbarrier.Token]pgbarrier.Status)
	var tokens []pgbarrier.Token
	for _, w := range waits {
		for _, t := range w.tokens {
			if _, asked := known[t]; !asked {
				known[t] = pgbarrier.Pending
				tokens = append(tokens, t)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	statuses, err := p.Check(ctx, tokens...)
	for i, status := range statuses {
		known[tokens[i]] = status
	}
	for _, w := range waits {
		outcome, ended := sumUp(w.tokens, known)
		if errors.Is(err, pgbarrier.ErrClosed) {
			outcome, ended = err, true
		}
		if ended && p.take(w) {
			w.f(outcome)
		}
	}
}

// sumUp returns the outcome of a wait for the tokens, if there is one.
func sumUp(tokens []pgbarrier.Token, known map[pgbarrier.Token]pgbarrier.Status) (outcome error, ended bool) {
	ended = true
	for _, t := range tokens {
		if err := known[t].Err(t); err != nil {
			return err, true
		}
		ended = ended && known[t] == pgbarrier.Committed
	}
	return nil, ended
}
