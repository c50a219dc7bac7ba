package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// Verdict is what to do with a message. The zero Verdict is none of them.
type Verdict uint8

const (
	// Run: call the handler. The transaction has committed and its updates can be read, or the message
	// carries no barrier and needs none.
	Run Verdict = iota + 1
	// Drop: take the message from the queue and do nothing. Its transaction rolled back, which is no
	// failure: nobody should be paged, and no archive filled.
	Drop
	// Later: give the message back so that it comes again after Decision.After, and so that this does
	// not count as an attempt. A broker that cannot do that holds it, see [Guard.Hold].
	Later
	// Reject: this message will never run: put it where a person looks, a dead-letter queue.
	Reject
)

// String returns run, drop, later or reject.
func (v Verdict) String() string {
	switch v {
	case Run:
		return "run"
	case Drop:
		return "drop"
	case Later:
		return "later"
	case Reject:
		return "reject"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Decision is a verdict about one message, and how it came about.
type Decision struct {
	Verdict Verdict

	// Err is nil for Run. For the others it is one of this package's errors, or wraps pgbarrier.ErrAborted,
	// ErrExpired, ErrWrongDatabase or ErrInvalidToken. It never is a context's error, which a handler
	// or a queue would take for its own.
	Err error

	// Tokens are those that the message carries.
	Tokens []pgbarrier.Token

	// Waited is how long the decision took.
	Waited time.Duration

	// Age is how long ago the oldest of the message's barriers was created; with Later, of those that may be
	// pending. It is the difference of the worker's clock and the server's, and not negative.
	Age time.Duration

	// After is, with Later, when the message should come again. It is 0 when the worker is stopping:
	// another one can have the message at once.
	After time.Duration
}

var (
	// ErrPending: whether the transaction commits was not known when the time to wait was over.
	ErrPending = errors.New("pgbarrier: the transaction has not ended yet: deliver the message again later")

	// ErrShutdown: the context was canceled, because the worker stops, before the outcome was known.
	ErrShutdown = errors.New("pgbarrier: the worker stops before the transaction has ended: deliver the message again")

	// ErrMissing: the message carries no barrier, and Config.Require wants one.
	ErrMissing = errors.New("pgbarrier: the message carries no barrier, and the guard requires one")
)

// pendingError is ErrPending with what hid the outcome. It has no Unwrap, through which a timeout of a check
// would look like one of the handler's.
type pendingError struct{ cause error }

func (e *pendingError) Error() string { return fmt.Sprintf("%v (%v)", ErrPending, e.cause) }

func (e *pendingError) Is(target error) bool {
	switch target {
	case ErrPending:
		return true
	case context.Canceled, context.DeadlineExceeded:
		return false
	}
	return errors.Is(e.cause, target)
}

// hasOutcome reports whether err, which a wait has ended with, says what became of the transaction.
func hasOutcome(err error) bool {
	return err == nil || errors.Is(err, pgbarrier.ErrAborted) || errors.Is(err, pgbarrier.ErrExpired) ||
		errors.Is(err, pgbarrier.ErrWrongDatabase) || errors.Is(err, pgbarrier.ErrInvalidToken)
}

// age returns how long ago the oldest of the barriers was created.
func age(tokens []pgbarrier.Token) time.Duration {
	var oldest time.Duration
	for _, t := range tokens {
		oldest = max(oldest, time.Since(t.Created()))
	}
	return oldest
}
