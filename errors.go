package pgbarrier

import (
	"errors"
	"fmt"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// The errors of waits and checks, for errors.Is. Those that speak of one token come wrapped in a
// [TokenError]. A context's error comes back as itself.
var (
	// ErrAborted: it is certain that the transaction's updates will never be readable. Drop the work.
	ErrAborted = errors.New("the transaction aborted: its updates will never be readable, drop the work")

	// ErrExpired: the transaction has ended, and the barrier is older than what has been purged, so
	// that nobody knows any more whether it committed. Decide by the data itself.
	ErrExpired = errors.New("the token is older than the retention: whether its transaction committed is not known any more, decide by the data")

	// ErrWrongDatabase: the token was made in another database, or in this one before it was restored
	// from a dump. Nothing is known about its transaction here.
	ErrWrongDatabase = errors.New("the token was made in another database: wait for it there")

	// ErrInvalidToken: not a token, or one that the database it names never made.
	ErrInvalidToken = errors.New("invalid token")

	// ErrNotMigrated: the schema is missing, incomplete, or newer than this library.
	ErrNotMigrated = wire.ErrNotMigrated

	// ErrStandby: the server is a standby, and only the primary can tell what became of a transaction.
	ErrStandby = wire.ErrStandby

	// ErrClosed: the listener has stopped. The wait has no outcome; wait again elsewhere.
	ErrClosed = errors.New("pgbarrier: the listener is closed: the wait has no outcome, wait again elsewhere")
)

// TokenError says which token an error speaks of.
type TokenError struct {
	Token Token
	Err   error // what errors.Is and errors.As look at
}

func (e *TokenError) Error() string { return fmt.Sprintf("pgbarrier: %v: %v", e.Token, e.Err) }

// Unwrap returns Err.
func (e *TokenError) Unwrap() error { return e.Err }
