package listener

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/dial"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

const (
	// fewTokens: up to so many are all asked for with every check, in 0.2 ms; 10,000 would take 3 ms. Beyond,
	// it is cheaper to see from the snapshot which have ended.
	fewTokens = 1000
	// tokensPerStatement bounds a statement's size (about 28 bytes a token) and duration.
	tokensPerStatement = 5000
	countEvery         = time.Second // the sessions on the server, while checks are made
)

// A checker asks the database about all waits of a set, one check at a time.
type checker struct {
	waits    *waitSet
	ask      func(ctx context.Context, tokens []pgbarrier.Token) (wire.Answer, error) // one statement
	count    func(ctx context.Context) (int, error)                                   // sessions on the server
	makeRoom func()                                                                   // for the check connection
	few, cut int                                                                      // as above; a simulation has smaller ones
	hold     hold
	pace     pace
	pause    pause
	log      *slog.Logger
	trace    func(Checked) // or nil
	number   uint64        // of the last check
	past     past
	counted  time.Time // when the sessions were
}

func newChecker(waits *waitSet, config Config, lock lock) *checker {
	return &checker{waits: waits, makeRoom: func() {}, few: fewTokens, cut: tokensPerStatement, hold: hold{lock: lock},
		pace: pace{config.MinDelay, config.MaxDelay}, pause: untilReady, log: config.Logger, trace: config.Trace.Checked}
}

// run checks whenever a check is due, until ctx ends.
func (c *checker) run(ctx context.Context) {
	c.past.ended = time.Now()
	for ctx.Err() == nil {
		due := c.pace.due(c.waits.demand(), c.past)
		if !due.IsZero() && !due.After(time.Now()) {
			c.check(ctx)
			continue
		}
		c.hold.idle(ctx, due)
		wake := c.waits.wake
		if c.past.failures > 0 && !due.IsZero() {
			wake = nil // nothing makes it due sooner
		}
		c.pause(ctx, due, wake)
	}
}

// check asks once for all that has to be asked for.
func (c *checker) check(ctx context.Context) {
	c.hold.begin(ctx)
	c.number++
	c.past.started = time.Now()
	report, err := c.answer(ctx, c.waits.toCheck(c.number, c.few))
	c.past.ended = time.Now()
	if ctx.Err() != nil {
		return
	}
	c.note(err)
	if c.trace != nil {
		report.Took, report.Err = c.past.ended.Sub(c.past.started), err
		c.trace(report)
	}
	if err == nil {
		ended, heard := c.waits.checked()
		c.hold.checked(ctx, ended, heard, c.past.sessions)
		if time.Since(c.counted) >= countEvery {
			c.counted = time.Now()
			if n, err := c.count(ctx); err == nil { // otherwise it is no harm
				c.past.sessions = n
			}
		}
	}
}

// answer gets the answers to a request and gives them to whoever waits.
func (c *checker) answer(ctx context.Context, r request) (report Checked, err error) {
	tokens := r.tokens
	for _, q := range r.questions {
		tokens = append(tokens, q.tokens...)
	}
	var outcomes []wire.Outcome
	// several asks in as many statements as it takes, at least one, and the first for the first tokens together.
	several := func(together int) (answer wire.Answer, err error) {
		for size := max(together, c.cut); ; size = c.cut {
			n := min(len(tokens), size)
			if answer, err = c.ask(ctx, tokens[:n]); err != nil {
				return answer, err
			}
			report.Resolved += c.waits.apply(tokens[:n], answer)
			outcomes = append(outcomes, answer.Outcomes...)
			report.Tokens += n
			report.Statements++
			if tokens = tokens[n:]; len(tokens) == 0 {
				return answer, nil
			}
		}
	}
	answer, err := several(r.together)
	if err != nil {
		return report, err
	}
	c.waits.answer(r.questions, outcomes[len(r.tokens):], nil)
	if tokens = c.waits.ended(c.number, answer.Snapshot); len(tokens) > 0 {
		_, err = several(0)
	}
	return report, err
}

// note keeps count of failures, and logs when they begin and end, not each.
func (c *checker) note(err error) {
	c.waits.note(func(s *stats) {
		if s.Checks, s.checkErr = s.Checks+1, err; err != nil {
			s.FailedChecks++
		}
	})
	switch {
	case err != nil:
		if c.past.failures++; c.past.failures == 1 {
			c.log.Warn("pgbarrier: checks fail, waits go on until they succeed again", "error", err)
		}
		// What this check asked for has not been answered, and the server may have been restarted.
		c.waits.recheck() // breakage: a check failed
		if errors.Is(err, dial.ErrNoRoom) {
			c.makeRoom() // breakage: room given back
		}
	case c.past.failures > 0:
		c.log.Info("pgbarrier: checks succeed again", "failed", c.past.failures)
		c.past.failures = 0
	}
}
