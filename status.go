package pgbarrier

import (
	"fmt"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// Status is what a check finds of one token.
type Status uint8

const (
	// Pending: neither commit nor abort is certain yet. The only status that can change.
	Pending = Status(wire.Pending)
	// Committed: the transaction's updates can be read.
	Committed = Status(wire.Committed)
	// Aborted: they never will be.
	Aborted = Status(wire.Aborted)
	// Expired: the transaction has ended, and the barrier is older than what has been purged.
	Expired = Status(wire.Expired)
	// WrongDatabase: the token was made in another database.
	WrongDatabase = Status(wire.WrongDatabase)
	// Invalid: the database never made this token.
	Invalid = Status(wire.Invalid)
)

type statusWords struct {
	name string
	err  error
}

var statuses = [...]statusWords{
	Pending:       {"pending", nil},
	Committed:     {"committed", nil},
	Aborted:       {"aborted", ErrAborted},
	Expired:       {"expired", ErrExpired},
	WrongDatabase: {"wrong database", ErrWrongDatabase},
	Invalid:       {"invalid", ErrInvalidToken},
}

// String returns the status in lower-case words.
func (s Status) String() string {
	if int(s) < len(statuses) {
		return statuses[s].name
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// Err returns the error that a wait for t ends with, a [TokenError], and nil for Pending and
// Committed.
func (s Status) Err(t Token) error {
	if int(s) >= len(statuses) || statuses[s].err == nil {
		return nil
	}
	return &TokenError{Token: t, Err: statuses[s].err}
}
