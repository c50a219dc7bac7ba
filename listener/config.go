package listener

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
)

// Config changes how a [Listener] works. The zero Config is fine.
type Config struct {
	// ListenConnString is the connection string (URL or key=value) of the LISTEN connection, for when the pool
	// goes through a pooler in transaction mode, which does not deliver notifications. The pool's by default.
	ListenConnString string

	// PollOnly opens no LISTEN connection: waits end by checks, and by what HandleNotification is fed.
	PollOnly bool

	// MinDelay is the least pause between two checks while something is pending, 2 ms by default, and MaxDelay the
	// longest, 1 s. In between, what has been pending for an age is checked again after a 32nd of it: an abort after
	// 2 s is known within 63 ms. With every 16 sessions on the server the least pause grows by a millisecond.
	MinDelay, MaxDelay time.Duration

	// Heartbeat is for how long the LISTEN connection may hear nothing before it is sent a probe, which it
	// has to hear within half of that. 10 s by default: a dead connection is replaced after 15 s.
	Heartbeat time.Duration

	// Retention, if not zero, purges barriers that are older, in the background, in one process at a time. It
	// must outlast the slowest redelivery of a message and the longest transaction: a later wait ends with
	// pgbarrier.ErrExpired. At least a minute.
	Retention time.Duration

	Logger *slog.Logger // hears of lost and found connections and of failing checks; nil is silent
	Trace  Trace        // is told what happens
}

// complete returns c with its defaults, and the parsed ListenConnString.
func (c Config) complete() (Config, *pgx.ConnConfig, error) {
	c.MinDelay = cmp.Or(c.MinDelay, 2*time.Millisecond)
	c.MaxDelay = cmp.Or(c.MaxDelay, time.Second)
	c.Heartbeat = cmp.Or(c.Heartbeat, 10*time.Second)
	switch {
	case c.MinDelay < 0 || c.MaxDelay < c.MinDelay:
		return c, nil, fmt.Errorf("pgbarrier: listener: MinDelay is %v and MaxDelay %v: 0 <= MinDelay <= MaxDelay must hold", c.MinDelay, c.MaxDelay)
	case c.Heartbeat < 0:
		return c, nil, fmt.Errorf("pgbarrier: listener: Heartbeat is %v, it cannot be negative", c.Heartbeat)
	case c.Retention != 0 && c.Retention < time.Minute:
		return c, nil, fmt.Errorf("pgbarrier: listener: Retention is %v, it must be at least a minute", c.Retention)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch direct, err := pgx.ParseConfig(c.ListenConnString); {
	case c.ListenConnString == "":
		return c, nil, nil
	case c.PollOnly:
		return c, nil, errors.New("pgbarrier: listener: ListenConnString is set and so is PollOnly, which opens no LISTEN connection: choose one")
	case err != nil:
		return c, nil, fmt.Errorf("pgbarrier: listener: ListenConnString: %w", err)
	default:
		return c, direct, nil
	}
}

// Trace holds functions that are called when something happens, by the listener's goroutines and by those
// that wait, also at the same time. They should return soon. Each may be nil.
type Trace struct {
	Connected    func()          // the LISTEN connection is up and hears
	Disconnected func(err error) // it was lost, because of err
	Checked      func(Checked)   // a check has asked the database
	Resolved     func(Resolved)  // a token that was waited for has got its outcome
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
