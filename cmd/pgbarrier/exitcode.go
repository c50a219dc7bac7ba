package main

import (
	"errors"
	"fmt"

	"github.com/pgbarrier/pgbarrier"
)

// The exit codes are an interface: scripts depend on them. They are ordered, so that of several
// tokens the highest is the worst.
const (
	exitOK            = 0
	exitError         = 1
	exitUsage         = 2
	exitPending       = 3
	exitAborted       = 4
	exitExpired       = 5
	exitWrongDatabase = 6
	exitInvalid       = 7
	exitWarned        = 8
	exitFailed        = 9
)

const exitCodes = `Exit codes:

    0    committed (of all tokens); done
    1    error: no connection, no schema, no grant, …: nothing is known
    2    usage error
    3    pending: neither committed nor aborted when asked, or in time
    4    aborted: the transaction's updates will never be readable
    5    expired: purged, nobody knows any more
    6    the token was made in another database
    7    invalid: not a token, cut off, or never made
    8    doctor: it works, but late or not for long, or was not all looked at
    9    doctor: producers, waits or purges fail
    130  interrupted (128 + the signal's number)

Of several tokens or findings the highest counts.`

const description = `Transaction barriers for PostgreSQL: let work in any queue wait for the transaction that queued it.

The database is named by --database, by DATABASE_URL, or by libpq's variables (PGHOST, PGUSER, PGPASSWORD, PGSERVICE, …).

` + exitCodes

// exitCode is an error that says nothing: what there is to say has been printed.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// exit returns code as an error, or nil for 0.
func exit(code int) error {
	if code == exitOK {
		return nil
	}
	return exitCode(code)
}

// codeOfStatus maps an outcome to its exit code.
func codeOfStatus(s pgbarrier.Status) int {
	switch s {
	case pgbarrier.Committed:
		return exitOK
	case pgbarrier.Pending:
		return exitPending
	case pgbarrier.Aborted:
		return exitAborted
	case pgbarrier.Expired:
		return exitExpired
	case pgbarrier.WrongDatabase:
		return exitWrongDatabase
	case pgbarrier.Invalid:
		return exitInvalid
	}
	return exitError
}

// statusOf returns the outcome that a wait's error stands for, and false if it stands for none.
func statusOf(err error) (pgbarrier.Status, bool) {
	switch {
	case err == nil:
		return pgbarrier.Committed, true
	case errors.Is(err, pgbarrier.ErrAborted):
		return pgbarrier.Aborted, true
	case errors.Is(err, pgbarrier.ErrExpired):
		return pgbarrier.Expired, true
	case errors.Is(err, pgbarrier.ErrWrongDatabase):
		return pgbarrier.WrongDatabase, true
	case errors.Is(err, pgbarrier.ErrInvalidToken):
		return pgbarrier.Invalid, true
	}
	return pgbarrier.Pending, false
}

// usageError is an argument that the parser let through.
type usageError struct{ error }

func codeOf(err error) int {
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitError
}
