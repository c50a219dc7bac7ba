package guardtest

import (
	"context"
	"slices"
	"sync"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// overlay is the database's Waiter as the suite's guards see it: it notes which tokens were asked about, and can
// make some of them look pending, or expired.
type overlay struct {
	guard.Waiter
	asked func(t pgbarrier.Token, hidden bool)

	mu      sync.Mutex
	expired map[pgbarrier.Token]bool
	hidden  map[pgbarrier.Token]chan struct{} // closed when it is shown again
}

func newOverlay(w guard.Waiter, asked func(t pgbarrier.Token, hidden bool)) *overlay {
	return &overlay{Waiter: w, asked: asked, expired: map[pgbarrier.Token]bool{}, hidden: map[pgbarrier.Token]chan struct{}{}}
}

// waiter is o, with WaitFunc if the database's Waiter has it.
func (o *overlay) waiter() guard.Waiter {
	if _, ok := o.Waiter.(guard.FuncWaiter); ok {
		return funcOverlay{o}
	}
	return o
}

// expire makes a token look as if it had been purged.
func (o *overlay) expire(t pgbarrier.Token) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expired[t] = true
}

// hide makes a token look pending, until show is called.
func (o *overlay) hide(t pgbarrier.Token) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hidden[t] == nil {
		o.hidden[t] = make(chan struct{})
	}
}

func (o *overlay) show(t pgbarrier.Token) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.hidden[t]; c != nil {
		close(c)
		delete(o.hidden, t)
	}
}

// look notes that the tokens were asked about. It returns what hides one of them, or says which is expired.
func (o *overlay) look(tokens []pgbarrier.Token) (hidden <-chan struct{}, expired error) {
	o.mu.Lock()
	for _, t := range tokens {
		if c := o.hidden[t]; c != nil && hidden == nil {
			hidden = c
		}
		if o.expired[t] && expired == nil {
			expired = pgbarrier.Expired.Err(t)
		}
	}
	o.mu.Unlock()
	for _, t := range tokens {
		o.asked(t, hidden != nil)
	}
	return hidden, expired
}

func (o *overlay) Wait(ctx context.Context, tokens ...pgbarrier.Token) error {
	for {
		hidden, expired := o.look(tokens)
		if expired != nil {
			return expired
		}
		if hidden == nil {
			return o.Waiter.Wait(ctx, tokens...)
		}
		select {
		case <-hidden:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *overlay) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	statuses, err := o.Waiter.Check(ctx, tokens...)
	if statuses == nil {
		return nil, err
	}
	statuses = slices.Clone(statuses)
	o.look(tokens)
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, t := range tokens {
		switch {
		case o.expired[t]:
			statuses[i] = pgbarrier.Expired
		case o.hidden[t] != nil:
			statuses[i] = pgbarrier.Pending
		}
	}
	return statuses, err
}

type funcOverlay struct{ *overlay }

func (o funcOverlay) WaitFunc(f func(error), tokens ...pgbarrier.Token) (stop func()) {
	hidden, expired := o.look(tokens)
	if hidden == nil && expired == nil {
		return o.Waiter.(guard.FuncWaiter).WaitFunc(f, tokens...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := o.Wait(ctx, tokens...); ctx.Err() == nil {
			f(err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
