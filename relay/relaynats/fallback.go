package relaynats

import (
	"context"
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

const (
	fallbackTimeout                = 10 * time.Second
	firstFallback, longestFallback = time.Second, 15 * time.Second // between two questions
	fallbackLook                   = time.Second                   // whether a relay is missing
)

// fallBack asks Config.Fallback about what no relay answers for, until ctx ends. All clients of a fleet may do so at
// once: therefore not before FallbackAfter, and more and more seldom.
func (c *Client) fallBack(ctx context.Context) {
	pause := firstFallback
	for {
		timer := time.NewTimer(jitter(min(fallbackLook, c.config.FallbackAfter)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		asked := false
		for _, batch := range c.unanswered(time.Now()) {
			asked = true
			c.fallBackFor(ctx, batch)
		}
		if !asked {
			pause = firstFallback
			continue
		}
		sleep(ctx, jitter(pause))
		pause = min(2*pause, longestFallback)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// A batch is what Fallback is asked about at once. Tokens of one wait, or one check, stay together.
type batch struct {
	link   *link
	waits  []*wait
	checks []*asking
	tokens []pgbarrier.Token
}

// unanswered returns what no relay has answered for, in the databases where none has answered for so long.
func (c *Client) unanswered(now time.Time) (batches []*batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.links {
		if l.unanswered.IsZero() || now.Sub(l.unanswered) < c.config.FallbackAfter {
			continue
		}
		b := &batch{link: l}
		batches = append(batches, b)
		room := func(n int) {
			if len(b.tokens) > 0 && len(b.tokens)+n > maxTokens {
				b = &batch{link: l}
				batches = append(batches, b)
			}
		}
		for _, a := range l.checks {
			room(len(a.tokens))
			b.checks, b.tokens = append(b.checks, a), append(b.tokens, a.tokens...)
		}
		for _, waits := range []map[uint64]*wait{l.unsent, l.sent} {
			for _, w := range waits {
				room(len(w.tokens))
				b.waits, b.tokens = append(b.waits, w), append(b.tokens, w.tokens...)
			}
		}
	}
	return slices.DeleteFunc(batches, func(b *batch) bool { return len(b.tokens) == 0 })
}

// fallBackFor asks once, and ends what has an answer. That a token is of another database is none: Fallback may know
// another one than its.
func (c *Client) fallBackFor(ctx context.Context, b *batch) {
	ctx, cancel := context.WithTimeout(ctx, fallbackTimeout)
	defer cancel()
	statuses, err := c.config.Fallback(ctx, b.tokens...)
	if err != nil || len(statuses) != len(b.tokens) {
		c.config.Logger.Warn("pgbarrier: the fallback does not answer either", "error", err)
		statuses = nil
	}
	var news []ended
	c.mu.Lock()
	c.stats.Fallbacks++
	for _, a := range b.checks {
		if statuses == nil {
			break
		}
		own := statuses[:len(a.tokens):len(a.tokens)]
		statuses = statuses[len(a.tokens):]
		if b.link.checks[a.id] == a && !slices.Contains(own, pgbarrier.WrongDatabase) {
			delete(b.link.checks, a.id)
			a.end(own, nil)
		}
	}
	for _, w := range b.waits {
		if statuses == nil {
			break
		}
		own := statuses[:len(w.tokens)]
		statuses = statuses[len(w.tokens):]
		if err, over := w.sumUp(own); over && b.link.cancel(w) {
			news = append(news, ended{w, err})
		}
	}
	c.stats.Waiting -= len(news)
	c.mu.Unlock()
	c.signal()
	callAll(news)
}

// sumUp returns the outcome of a wait, if its tokens' statuses are one.
func (w *wait) sumUp(statuses []pgbarrier.Status) (err error, over bool) {
	over = true
	for i, s := range statuses {
		if s == pgbarrier.WrongDatabase {
			s = pgbarrier.Pending
		}
		if err := s.Err(w.tokens[i]); err != nil {
			return err, true
		}
		over = over && s == pgbarrier.Committed
	}
	return nil, over
}
