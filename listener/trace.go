package listener

import (
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// Trace holds functions that are called when something happens. Each may be nil.
type Trace struct {
	// Connected: the LISTEN connection is up and hears.
	Connected func()
	// Disconnected: it was lost, because of err.
	Disconnected func(err error)
	// Checked: a check has asked the database.
	Checked func(Checked)
	// Resolved: a token that was waited for has got its outcome.
	Resolved func(Resolved)
}

// Checked tells of one check.
type Checked struct {
	Tokens     int // asked for
	Resolved   int // of them with an outcome
	Statements int
	Took       time.Duration
	Err        error // what it failed with
}

// Resolved tells of one token's outcome.
type Resolved struct {
	Token  pgbarrier.Token
	Err    error // nil if committed, otherwise a *pgbarrier.TokenError
	By     How
	Waited time.Duration // since the first wait for the token began
}

// How is what ended a wait.
type How uint8

const (
	ByAnnouncement How = iota // its commit was announced
	ByCheck                   // a check found the outcome
	ByMemory                  // it had been announced when the wait began
)

// String returns announcement, check or memory.
func (h How) String() string {
	if names := [...]string{"announcement", "check", "memory"}; int(h) < len(names) {
		return names[h]
	}
	return fmt.Sprintf("How(%d)", uint8(h))
}
