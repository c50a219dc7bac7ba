package wire

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// What a statement can find instead of an answer. Package pgbarrier exports both.
var (
	ErrNotMigrated = errors.New("the pgbarrier schema does not fit: run `pgbarrier migrate`, pgbarrier.Migrate or psql -f sql/triggers.sql")
	ErrStandby     = errors.New("the server is a standby, which cannot tell what became of a transaction: connect to the primary, for example with target_session_attrs=read-write")
)

// Explain wraps an error of a statement on the pgbarrier schema with what was being done and, where
// the SQLSTATE tells, with what to do about it.
func Explain(doing string, err error) error {
	switch SQLState(err) {
	case InvalidSchemaName, UndefinedFunction, UndefinedTable, UndefinedColumn: // breakage: no schema
		return fmt.Errorf("pgbarrier: %s: %w (%w)", doing, ErrNotMigrated, err)
	case InsufficientPrivilege:
		return fmt.Errorf("pgbarrier: %s: the role lacks a grant, the head of sql/triggers.sql lists them: %w", doing, err)
	}
	return fmt.Errorf("pgbarrier: %s: %w", doing, err)
}

// IsOutage reports whether err is that of a server that cannot be reached or is not up to answering
// now: when it is back, the same question may be answered.
func IsOutage(err error) bool {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return isOneOf(pgErr.Code, classConnectionException, classInsufficientResources, classOperatorIntervention,
			classTransactionRollback, LockNotAvailable, TransactionTimeout) // breakage: lock timeout
	}
	var connectErr *pgconn.ConnectError
	var netErr net.Error
	return errors.As(err, &connectErr) || errors.As(err, &netErr) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
