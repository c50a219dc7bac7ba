package pgbarrier

import (
	"context"
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// Poller waits without a listener, by checks at growing delays. The zero Poller is ready to use. It
// suits a process that waits now and then; one that waits all the time needs fewer queries, and
// hears of commits at once, with package listener.
type Poller struct {
	// MinDelay is the pause after the first check; it doubles with every further one. 1 ms by default.
	MinDelay time.Duration
	// MaxDelay is the longest pause. 1 s by default.
	MaxDelay time.Duration
}

// Poll waits with the default delays, see [Poller.Wait].
func Poll(ctx context.Context, db DB, tokens ...Token) error {
	return Poller{}.Wait(ctx, db, tokens...)
}

// Wait returns nil once all tokens are committed, and as soon as one of them is known not to be, a
// [TokenError] that says so: ErrAborted, ErrExpired, ErrWrongDatabase or ErrInvalidToken.
//
// While the server cannot be reached Wait goes on; when ctx ends during that, the error is ctx.Err()
// and tells what the last check met. Other errors of a check (a standby, no schema, no grant, a
// closed pool) are returned at once: the wait has no outcome then.
//
// db should be a pool: a single connection that breaks stays broken, and in the producer's own
// transaction the wait cannot end.
func (p Poller) Wait(ctx context.Context, db DB, tokens ...Token) error {
	return p.wait(ctx, db, &question{doing: "poll", ask: wire.Check[Token]}, tokens)
}

func (p Poller) wait(ctx context.Context, db DB, q *question, tokens []Token) error {
	if p.MinDelay < 0 || p.MaxDelay < 0 {
		return fmt.Errorf("pgbarrier: poll: delays are %v and %v, they cannot be negative", p.MinDelay, p.MaxDelay)
	}
	if len(tokens) == 0 {
		return fmt.Errorf("pgbarrier: poll: %w: there is none to wait for", ErrInvalidToken)
	}
	delay := p.MinDelay
	if delay == 0 {
		delay = time.Millisecond
	}
	maxDelay := p.MaxDelay
	if maxDelay == 0 {
		maxDelay = max(delay, time.Second)
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	var outage error
	pending := tokens
	for {
		asked := len(pending)
		// One statement, however many there are: by several, with a crash between, commits could count that
		// were never there at once.
		statuses, err := q.put(ctx, db, pending) // breakage: one statement
		switch {
		case ctx.Err() != nil:
			return ctxError(ctx, outage)
		case err == nil:
			outage = nil
			pending, err = stillPending(pending, statuses)
			switch {
			case err != nil:
				return err
			case len(pending) == 0 && asked == len(tokens): // breakage: all at once
				return nil
			case len(pending) == 0:
				// The others were found by earlier checks, and a crash since then may have undone a commit
				// that was visible and not yet durable.
				pending = tokens
				continue
			}
		case !wire.IsOutage(err) || isBroken(db): // breakage: outage
			return err
		default:
			outage = err
		}
		pause.Reset(min(delay, maxDelay))
		select {
		case <-ctx.Done():
			return ctxError(ctx, outage)
		case <-pause.C:
		}
		delay = min(2*delay, maxDelay)
	}
}

func ctxError(ctx context.Context, outage error) error {
	if outage == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w, and the last check failed: %w", ctx.Err(), outage)
}

func stillPending(tokens []Token, statuses []Status) ([]Token, error) {
	var pending []Token
	for i, status := range statuses {
		if err := status.Err(tokens[i]); err != nil {
			return nil, err
		}
		if status == Pending {
			pending = append(pending, tokens[i])
		}
	}
	return pending, nil
}
