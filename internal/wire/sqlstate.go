package wire

import (
	"errors"
	"strings"
)

// The SQLSTATEs that something depends on, by their names in
// https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	FeatureNotSupported        = "0A000" // also: SERIALIZABLE on a standby
	ReadOnlySQLTransaction     = "25006" // also: raised by pgbarrier.check on a standby
	InvalidTransactionState    = "25000" // raised by pgbarrier.check in a transaction in which it cannot answer
	TransactionTimeout         = "25P04"
	InvalidSchemaName          = "3F000"
	InsufficientPrivilege      = "42501"
	UndefinedColumn            = "42703"
	UndefinedFunction          = "42883"
	UndefinedTable             = "42P01"
	TooManyConnections         = "53300"
	ObjectNotInPrerequisite    = "55000" // raised by sql/triggers.sql: a newer schema is installed
	LockNotAvailable           = "55P03"
	classConnectionException   = "08"
	classTransactionRollback   = "40"
	classInsufficientResources = "53"
	classOperatorIntervention  = "57" // shutdown, crash, starting up, statement canceled
)

// SQLState returns the code of the server's error in err's chain, or "". It asks for the method that lib/pq's
// errors have as well as pgx's.
func SQLState(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}

// isOneOf reports whether code is one of the codes or in one of the classes.
func isOneOf(code string, codesOrClasses ...string) bool {
	for _, c := range codesOrClasses {
		if strings.HasPrefix(code, c) {
			return true
		}
	}
	return false
}
