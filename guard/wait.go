package guard

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// retryPause is between two questions to a database, or a waiter, that has just not answered.
const retryPause = time.Second

// A wait is for one message's transactions. One goroutine uses it.
type wait struct {
	guard   *Guard
	message int               // its place among those that are decided together
	tokens  []pgbarrier.Token // that must be committed; never changed in place, others hold it too
	pending []pgbarrier.Token // of them, those that the last check did not find committed
	done    chan error        // gets what the wait has ended with
	stop    func()            // nil: it has not begun

	ended  bool  // with an outcome
	lost   bool  // without one: the waiter has stopped
	gaveUp bool  // GiveUp has passed, and a check has found it pending
	err    error // the outcome; before there is one, why it is not known, if that is not just pending
}

// open reports whether there is something to wait for.
func (w *wait) open() bool { return !w.ended && !w.lost && !w.gaveUp }

// unsure returns the tokens that may be pending.
func (w *wait) unsure() []pgbarrier.Token {
	if len(w.pending) > 0 {
		return w.pending
	}
	return w.tokens
}

// begin waits for the tokens from now on, unless that has begun or is not needed. It may end at once.
func (w *wait) begin() {
	if w.stop != nil || !w.open() {
		return
	}
	done := make(chan error, 1)
	w.done = done
	w.stop = w.guard.waiter.WaitFunc(func(err error) {
		select {
		case done <- err:
		default:
		}
	}, w.tokens...)
	w.receive(context.Background(), 0)
}

func (w *wait) cease() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// receive waits for the end of the wait, for as long as patience and ctx.
func (w *wait) receive(ctx context.Context, patience time.Duration) {
	select {
	case err := <-w.done:
		w.end(err)
		return
	default:
	}
	if patience <= 0 {
		return
	}
	var over <-chan time.Time
	if patience < math.MaxInt64 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case err := <-w.done:
		w.end(err)
	case <-over:
	case <-ctx.Done():
	}
}

// await waits until there is an outcome, GiveUp has passed, or ctx has ended. If the waiter has stopped it
// returns too, or, to hold, begins again.
func (w *wait) await(ctx context.Context, hold bool) {
	giveUp := w.guard.config.GiveUp
	var least time.Duration
	for ctx.Err() == nil {
		patience := time.Duration(math.MaxInt64)
		if giveUp > 0 {
			patience = max(giveUp-age(w.unsure()), least)
		}
		if w.open() {
			w.receive(ctx, patience)
		}
		switch {
		case w.lost && hold:
			w.cease()
			sleep(ctx, retryPause)
			w.lost = false
			w.begin()
		case !w.open():
			return
		case giveUp > 0 && ctx.Err() == nil:
			w.guard.check(ctx, []*wait{w})
			least = retryPause
		}
	}
	w.receive(ctx, 0)
}

// learn takes what a check has found about the tokens, and what it failed with.
func (w *wait) learn(statuses []pgbarrier.Status, err error) {
	w.pending, w.err = nil, err
	if statuses == nil {
		return
	}
	var bad error
	kept := make([]pgbarrier.Token, 0, len(w.tokens))
	for i, t := range w.tokens {
		switch status := statuses[i]; {
		case status == pgbarrier.Committed:
			kept = append(kept, t)
		case status == pgbarrier.Expired && w.guard.config.Expired == Run:
		case status.Err(t) == nil: // Pending
			kept = append(kept, t)
			w.pending = append(w.pending, t)
		case bad == nil || status == pgbarrier.Aborted:
			bad = status.Err(t)
		}
	}
	switch {
	case bad != nil || len(w.pending) == 0:
		w.ended, w.err = true, bad
	case len(kept) < len(w.tokens):
		w.restart(kept)
	}
	giveUp := w.guard.config.GiveUp
	w.gaveUp = giveUp > 0 && !w.ended && err == nil && age(w.pending) >= giveUp
}

// end takes what the wait has ended with.
func (w *wait) end(err error) {
	if w.guard.config.Expired == Run && errors.Is(err, pgbarrier.ErrExpired) && len(w.tokens) > 1 {
		var of *pgbarrier.TokenError
		if errors.As(err, &of) && slices.Contains(w.tokens, of.Token) {
			// As if the message did not carry this one.
			w.pending = nil
			w.restart(slices.DeleteFunc(slices.Clone(w.tokens), func(t pgbarrier.Token) bool { return t == of.Token }))
			return
		}
		w.lost, w.err = true, err // which one it was is not known, and the others may be pending
		return
	}
	w.err = err
	w.ended, w.lost = hasOutcome(err), !hasOutcome(err)
}

// restart goes on with fewer tokens.
func (w *wait) restart(tokens []pgbarrier.Token) {
	begun := w.stop != nil
	w.cease()
	if w.tokens = tokens; begun {
		w.begin()
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
