package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// Guard decides about messages. One serves all workers of a queue. It runs nothing of its own and need
// not be closed; what [Guard.Wake] begins ends with the context it is given.
type Guard struct {
	waiter FuncWaiter // what begins waits: the Waiter itself, if it can
	config Config
	slots  chan struct{} // has an element for each message that waits; nil: no bound
	wakes  *wakes
}

// New returns a guard that learns outcomes from w.
func New(w Waiter, config Config) (*Guard, error) {
	if w == nil {
		return nil, errors.New("pgbarrier: guard: the Waiter is nil: make a listener with listener.New")
	}
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	g := &Guard{waiter: withWaitFunc(w), config: config}
	g.wakes = newWakes(w)
	if config.Slots > 0 {
		g.slots = make(chan struct{}, config.Slots)
	}
	return g, nil
}

// Decide says what to do with a message. It takes as long as Config.Budget and Config.Slots allow: a
// microsecond if the outcome has been heard, one check that is shared with others if the transaction ended
// before. When ctx ends first the verdict is Later.
//
// Only call the handler with the context of the message: the budget is not its deadline.
func (g *Guard) Decide(ctx context.Context, c Carrier) Decision {
	return g.decide(ctx, []Carrier{c}, false)[0]
}

// DecideEach is Decide for messages that a worker has got together. They share the budget, the check and
// the slot, and each gets its own decision, in their order. It takes as long as the slowest of them.
func (g *Guard) DecideEach(ctx context.Context, messages []Carrier) []Decision {
	return g.decide(ctx, messages, false)
}

// Hold is Decide without a budget and without a slot: it waits as long as ctx. It is for where a wait
// takes no worker, and for a message that cannot be given back: on the last attempt that its broker grants.
func (g *Guard) Hold(ctx context.Context, c Carrier) Decision {
	return g.decide(ctx, []Carrier{c}, true)[0]
}

func (g *Guard) decide(ctx context.Context, messages []Carrier, hold bool) []Decision {
	began := time.Now()
	decisions := make([]Decision, len(messages))
	waits := make([]*wait, 0, len(messages)) // of the messages that need one
	for i, message := range messages {
		tokens, err := Extract(message)
		switch {
		case err != nil:
			decisions[i] = Decision{Verdict: Reject, Err: err}
		case len(tokens) > 0:
			decisions[i].Tokens = tokens
			waits = append(waits, &wait{guard: g, message: i, tokens: tokens})
		case g.config.Require:
			decisions[i] = Decision{Verdict: Reject, Err: ErrMissing}
		default:
			decisions[i] = Decision{Verdict: Run}
		}
	}
	if len(waits) > 0 {
		g.await(ctx, waits, hold)
	}
	for _, w := range waits {
		g.conclude(ctx, w, &decisions[w.message])
	}
	waited := time.Since(began)
	for i := range decisions {
		decisions[i].Waited = waited
		if g.config.Observe != nil {
			g.config.Observe(ctx, decisions[i])
		}
	}
	return decisions
}

// conclude sets the verdict about the message that w was for.
func (g *Guard) conclude(ctx context.Context, w *wait, d *Decision) {
	d.Age = age(d.Tokens)
	switch {
	case w.gaveUp:
		d.Verdict, d.Age = Reject, age(w.unsure())
		d.Err = fmt.Errorf("%w: given up after %v", ErrPending, d.Age.Round(time.Millisecond))
	case w.ended && w.err == nil:
		d.Verdict = Run
	case w.ended:
		if d.Verdict = g.verdict(w.err); d.Verdict != Run {
			d.Err = w.err
		}
	case errors.Is(ctx.Err(), context.Canceled):
		d.Verdict, d.Err, d.Age = Later, ErrShutdown, age(w.unsure())
	default:
		d.Verdict, d.Err, d.Age = Later, ErrPending, age(w.unsure())
		if w.err != nil {
			d.Err = &pendingError{w.err}
		}
		d.After = g.config.Delay(d.Age)
	}
}

// verdict is the one about a message whose wait ended with err, an outcome other than a commit.
func (g *Guard) verdict(err error) Verdict {
	switch {
	case errors.Is(err, pgbarrier.ErrAborted):
		return g.config.Aborted
	case errors.Is(err, pgbarrier.ErrExpired):
		return g.config.Expired
	}
	return Reject
}
