package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// lookupTimeout bounds what wait does after its own timeout has passed.
const lookupTimeout = 2 * time.Second

type waitCommand struct {
	database
	Tokens  []string      `arg:"" name:"token" help:"Tokens, or - for tokens from stdin, separated by white space."`
	Timeout time.Duration `help:"Give up after so long, such as 30s; what is still pending then is reported so. Default: wait for as long as it takes."`
	Poll    bool          `help:"Do not LISTEN, only check: for a database behind a pooler in transaction mode."`
	JSON    bool          `name:"json" help:"Print one JSON object a line."`
}

func (c *waitCommand) Help() string {
	return `Prints one line a token as soon as its outcome is known, and ends when all are. An outage of the server does not end it.

    TOKEN=$(psql -qAtXc "…")
    pgbarrier wait --timeout 1m "$TOKEN" && run-the-work

` + exitCodes
}

func (c *waitCommand) Run(ctx context.Context, std streams) error {
	if c.Timeout < 0 {
		return usageError{fmt.Errorf("--timeout is %v, it cannot be negative", c.Timeout)}
	}
	inquiries, err := readTokens(c.Tokens, std.in)
	if err != nil {
		return err
	}
	worst := exitOK
	print := func(q inquiry, j judged) error {
		f := find(q, j)
		worst = max(worst, f.code)
		return f.write(std.out, c.JSON)
	}
	var wanted []inquiry
	for _, q := range inquiries {
		if q.problem == nil {
			wanted = append(wanted, q)
		} else if err := print(q, judged{}); err != nil {
			return err
		}
	}
	if len(wanted) > 0 {
		if err := c.wait(ctx, wanted, print); err != nil {
			return err
		}
	}
	return exit(worst)
}

// wait calls print for each of the inquiries when its outcome is known, and for the rest when the
// timeout has passed.
func (c *waitCommand) wait(ctx context.Context, inquiries []inquiry, print func(inquiry, judged) error) error {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if c.Timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, c.Timeout)
	}
	defer cancel()
	pool, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	// A first check, because a listener waits until things get better, and who begins with a wrong
	// address, a standby or a missing grant is better told at once.
	statuses, err := pgbarrier.Check(ctx, pool, valid(inquiries)...)
	if err != nil {
		return err
	}
	var pending []inquiry
	for i, q := range inquiries {
		if statuses[i] == pgbarrier.Pending {
			pending = append(pending, q)
		} else if err := print(q, judged{status: statuses[i]}); err != nil {
			return err
		}
	}
	if len(pending) == 0 {
		return nil
	}

	l, err := listener.New(pool, listener.Config{PollOnly: c.Poll})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.Run(running) // what it returns, the waits return too
	}()
	defer func() {
		stop()
		<-ended
	}()
	results := make(chan waited, len(pending))
	for _, q := range pending {
		go func() { results <- waited{q, l.Wait(limited, q.token)} }()
	}
	var late []inquiry
	for range pending {
		w := <-results
		status, known := statusOf(w.err)
		switch {
		case known:
			if err := print(w.inquiry, judged{status: status}); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(w.err, context.DeadlineExceeded):
			late = append(late, w.inquiry)
		default:
			return w.err
		}
	}
	if len(late) == 0 {
		return nil
	}
	// Whoever gave up wants to know what they waited for. If the server is down, they are pending.
	lookup, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	judgements, _ := judge(lookup, pool, valid(late))
	for _, q := range late {
		if err := print(q, judgements[q.token]); err != nil {
			return err
		}
	}
	return nil
}

// waited is what a wait ended with.
type waited struct {
	inquiry inquiry
	err     error
}
