package relaynats

import (
	"context"
	"fmt"
	"slices"

	"github.com/pgbarrier/pgbarrier"
)

// A wait has not ended while it is in one of its link's maps.
type wait struct {
	link   *link
	id     uint64
	tokens []pgbarrier.Token
	f      func(error)
}

// An ended wait's function is called when the client's lock has been released.
type ended struct {
	wait *wait
	err  error
}

func callAll(all []ended) {
	for _, e := range all {
		e.wait.f(e.err)
	}
}

// Wait returns nil once the transactions of all the tokens have committed and can be read on the primary, and a
// *pgbarrier.TokenError as soon as one of them is known not to. If ctx ends first it returns ctx.Err(), and if Run
// returns, pgbarrier.ErrClosed: then the wait has no outcome. That no relay answers, or none that serves the tokens'
// database, delays a wait and never ends it; see [Client.Health].
func (c *Client) Wait(ctx context.Context, tokens ...pgbarrier.Token) error {
	done := make(chan error, 1)
	stop := c.WaitFunc(func(err error) { done <- err }, tokens...)
	defer stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WaitFunc implements [guard.FuncWaiter].
func (c *Client) WaitFunc(f func(err error), tokens ...pgbarrier.Token) (stop func()) {
	if err := validate("wait", tokens); err != nil {
		f(err)
		return func() {}
	}
	if views := c.views(tokens); len(views) > 1 {
		return together(views).WaitFunc(f, tokens...)
	}
	w := &wait{tokens: slices.Clone(tokens), f: f}
	c.mu.Lock()
	closed := c.closed
	if closed == nil {
		c.ids++
		w.id = c.ids
		w.link = c.link(tokens[0].Origin)
		w.link.unsent[w.id] = w
		c.stats.Waiting++
	}
	c.mu.Unlock()
	if closed != nil {
		f(closed)
		return func() {}
	}
	c.signal()
	return w.stop
}

// stop ends the wait without an outcome.
func (w *wait) stop() {
	c := w.link.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.link.cancel(w) {
		c.stats.Waiting--
		c.signal()
	}
}

// close ends all waits and checks, and all to come, with err.
func (c *Client) close(err error) {
	var all []ended
	c.mu.Lock()
	c.closed = err
	for _, l := range c.links {
		for _, waits := range []map[uint64]*wait{l.unsent, l.sent} {
			for _, w := range waits {
				all = append(all, ended{w, err})
			}
			clear(waits)
		}
		for id, a := range l.checks {
			delete(l.checks, id)
			a.end(nil, err)
		}
	}
	c.stats.Waiting -= len(all)
	c.mu.Unlock()
	callAll(all)
}

func validate(doing string, tokens []pgbarrier.Token) error {
	for _, t := range tokens {
		if err := t.Valid(); err != nil {
			return fmt.Errorf("pgbarrier: %s: %w", doing, err)
		}
	}
	switch {
	case len(tokens) == 0:
		return fmt.Errorf("pgbarrier: %s: %w: there is none", doing, pgbarrier.ErrInvalidToken)
	case len(tokens) > maxTokens:
		return fmt.Errorf("pgbarrier: %s: %d tokens are too many for a relay, which takes %d at once", doing, len(tokens), maxTokens)
	}
	return nil
}
