package relay

import (
	"errors"
	"slices"

	"github.com/pgbarrier/pgbarrier"
)

var bad = [...]struct {
	err    error
	status pgbarrier.Status
}{
	{pgbarrier.ErrAborted, pgbarrier.Aborted},
	{pgbarrier.ErrExpired, pgbarrier.Expired},
	{pgbarrier.ErrWrongDatabase, pgbarrier.WrongDatabase},
	{pgbarrier.ErrInvalidToken, pgbarrier.Invalid},
}

// outcome returns what a wait for tokens has ended with: the status of one of them, and its place. tokens is nil if
// there was one. Pending: there is no outcome.
func outcome(err error, tokens []pgbarrier.Token) (status pgbarrier.Status, index int) {
	if err == nil {
		return pgbarrier.Committed, 0
	}
	var of *pgbarrier.TokenError
	if !errors.As(err, &of) {
		return pgbarrier.Pending, 0
	}
	for _, b := range bad {
		if errors.Is(of.Err, b.err) {
			return b.status, max(0, slices.Index(tokens, of.Token))
		}
	}
	return pgbarrier.Pending, 0
}
