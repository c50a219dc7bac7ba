package relaynats

import (
	"context"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

const (
	checkPause   = time.Second            // before a check is repeated that nobody has answered
	refusedPause = 300 * time.Millisecond // or that a relay could not answer
)

// asking is a call of Check.
type asking struct {
	id       uint64
	tokens   []pgbarrier.Token
	lease    time.Duration
	first    time.Time     // when it was asked with this id
	due      time.Time     // when to ask again
	done     chan struct{} // the rest may be read when it is closed
	statuses []pgbarrier.Status
	err      error
}

// Check implements [guard.Waiter]: it returns what a check that begins after the call finds of the tokens, in one
// statement. While no relay answers it waits; if ctx ends first it returns ctx.Err().
func (c *Client) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	if len(tokens) == 0 {
		return nil, nil
	}
	if err := validate("check", tokens); err != nil {
		return nil, err
	}
	if views := c.views(tokens); len(views) > 1 {
		return checkEach(ctx, views, tokens)
	}
	a := &asking{tokens: tokens, done: make(chan struct{})}
	c.mu.Lock()
	if c.closed != nil {
		defer c.mu.Unlock()
		return nil, c.closed
	}
	c.ids++
	a.id = c.ids
	l := c.link(tokens[0].Origin)
	l.checks[a.id] = a
	c.mu.Unlock()
	c.signal()
	select {
	case <-a.done:
		return a.statuses, a.err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(l.checks, a.id)
		return nil, ctx.Err()
	}
}

// end answers the call. The caller holds the client's mu and has taken it out of its link.
func (a *asking) end(statuses []pgbarrier.Status, err error) {
	a.statuses, a.err = statuses, err
	close(a.done)
}

// ask sends the checks that are due.
func (l *link) ask(now time.Time, due *earliest, out *[]outgoing) {
	s := l.session
	for _, a := range l.checks {
		if !a.due.IsZero() && !due.reached(now, a.due) {
			continue
		}
		if a.first.IsZero() || since(now, a.first) >= a.lease {
			// An answer to the old question may be too old.
			delete(l.checks, a.id)
			l.client.ids++
			a.id, a.first, a.lease = l.client.ids, now, s.lease
			l.checks[a.id] = a
		}
		a.due = now.Add(checkPause)
		due.reached(now, a.due)
		l.publish(out, relaySubjects+s.relay, s.attempt, check{a.id, l.origin, a.tokens}.encode())
	}
}

// checked takes a relay's answer to a check, whenever it was asked.
func (l *link) checked(now time.Time, d *decoder) {
	var c checked
	if c.decode(d) != nil {
		l.client.stats.Ignored++
		return
	}
	a := l.checks[c.id]
	switch {
	case a == nil:
	case since(now, a.first) >= a.lease:
		a.due = time.Time{}
	case len(c.statuses) != len(a.tokens):
		a.due = now.Add(jitter(refusedPause))
	default:
		delete(l.checks, c.id)
		a.end(c.statuses, nil)
		return
	}
	l.client.signal()
}
