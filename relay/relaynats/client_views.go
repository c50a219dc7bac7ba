package relaynats

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// A view is a client for one database's tokens, as guard.Mux wants it for a wait in several databases.
type view struct {
	*Client
	origin uint32
}

// views returns one for each database that the tokens are of.
func (c *Client) views(tokens []pgbarrier.Token) (views []view) {
	for _, t := range tokens {
		if !slices.ContainsFunc(views, func(v view) bool { return v.origin == t.Origin }) {
			views = append(views, view{c, t.Origin})
		}
	}
	return views
}

// together is a wait in all of the databases.
func together(views []view) guard.FuncWaiter {
	waiters := make([]guard.Waiter, len(views))
	for i, v := range views {
		waiters[i] = v
	}
	return guard.Mux(waiters...).(guard.FuncWaiter)
}

// Check asks about the tokens of its own database. It knows none of the others.
func (v view) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	statuses, err := v.Client.Check(ctx, v.own(tokens)...)
	if err != nil {
		return nil, err
	}
	all := make([]pgbarrier.Status, len(tokens))
	v.place(tokens, statuses, all, pgbarrier.WrongDatabase)
	return all, nil
}

// own returns those of the tokens that are of the view's database.
func (v view) own(tokens []pgbarrier.Token) (own []pgbarrier.Token) {
	for _, t := range tokens {
		if t.Origin == v.origin {
			own = append(own, t)
		}
	}
	return own
}

// place puts the statuses of the view's tokens where those are, and other, unless Pending, at the rest.
func (v view) place(tokens []pgbarrier.Token, statuses, all []pgbarrier.Status, other pgbarrier.Status) {
	for i, t := range tokens {
		switch {
		case t.Origin == v.origin:
			all[i], statuses = statuses[0], statuses[1:]
		case other != pgbarrier.Pending:
			all[i] = other
		}
	}
}

// checkEach asks each database about its own tokens. What one does not answer is Pending, with an error.
func checkEach(ctx context.Context, views []view, tokens []pgbarrier.Token) ([]pgbarrier.Status, error) {
	var asking sync.WaitGroup
	found := make([][]pgbarrier.Status, len(views))
	errs := make([]error, len(views))
	for i, v := range views {
		asking.Go(func() { found[i], errs[i] = v.Client.Check(ctx, v.own(tokens)...) })
	}
	asking.Wait()
	all := make([]pgbarrier.Status, len(tokens))
	for i, v := range views {
		if errs[i] == nil {
			v.place(tokens, found[i], all, pgbarrier.Pending)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return all, err
	}
	return all, nil
}
