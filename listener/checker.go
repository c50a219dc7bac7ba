package listener

import (
	"context"
	"log/slog"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

const (
	// fewTokens: up to so many pending tokens are asked for with every check. With more, a check asks
	// for the fresh ones, and a second statement for those that its snapshot shows as ended.
	fewTokens = 64
	// tokensPerStatement bounds a statement's size (about 70 bytes a token) and duration.
	tokensPerStatement = 5000
)

// A checker asks the database about the waits of a set, one check at a time. It serves all waits;
// none has a check of its own.
type checker struct {
	waits  *waitSet
	judge  func(ctx context.Context, tokens []pgbarrier.Token) (judgement, error)
	pace   pace
	rest   rest
	status *status
	log    *slog.Logger
	trace  func(Checked) // or nil

	number         uint64 // of the last check
	started, ended time.Time
	failures       int // checks that failed in a row
}

// run checks whenever a check is due, until ctx ends.
func (c *checker) run(ctx context.Context) {
	for ctx.Err() == nil {
		due := c.pace.due(c.waits.demand(), c.started, c.ended, c.failures)
		if due.IsZero() || due.After(time.Now()) {
			c.rest(ctx, due, c.waits.wake)
			continue
		}
		c.check(ctx)
	}
}

// check asks once for all that has to be asked for.
func (c *checker) check(ctx context.Context) {
	c.number++
	c.started = time.Now()
	report := Checked{}
	tokens, enough := c.waits.toCheck(c.number, fewTokens)
	judgement, err := c.ask(ctx, tokens, &report)
	if err == nil && !enough {
		if ended := c.waits.notRunning(c.number, judgement.Snapshot); len(ended) > 0 {
			_, err = c.ask(ctx, ended, &report)
		}
	}
	c.ended = time.Now()
	if ctx.Err() != nil {
		return
	}
	c.note(err)
	if c.trace != nil {
		report.Took, report.Err = c.ended.Sub(c.started), err
		c.trace(report)
	}
}

// ask asks in as many statements as it takes, at least one, and returns the last answer.
func (c *checker) ask(ctx context.Context, tokens []pgbarrier.Token, report *Checked) (judgement, error) {
	for {
		n := min(len(tokens), c.waits.asking())
		judgement, err := c.judge(ctx, tokens[:n])
		if err != nil {
			return judgement, err
		}
		report.Statements++
		report.Tokens += n
		report.Resolved += c.waits.judged(tokens[:n], judgement.Statuses, ByCheck)
		c.waits.answered()
		if tokens = tokens[n:]; len(tokens) == 0 {
			return judgement, nil
		}
	}
}

// note keeps count of failures, and logs when they begin and end, not each.
func (c *checker) note(err error) {
	c.status.checked(err)
	if err != nil {
		if c.failures++; c.failures == 1 {
			c.log.Warn("pgbarrier: checks fail, waits go on until they succeed again", "error", err)
		}
		// What this check asked for has not been answered, and the server may have been restarted.
		c.waits.recheck()
		return
	}
	if c.failures > 0 {
		c.log.Info("pgbarrier: checks succeed again", "failed", c.failures)
		c.failures = 0
	}
}
