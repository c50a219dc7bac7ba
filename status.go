package pgbarrier

import "fmt"

// Status is what a check tells about one token.
type Status uint8

const (
	// Pending: neither commit nor abort is certain yet. The only status that can change.
	Pending Status = iota
	// Committed: the transaction's updates can be read.
	Committed
	// Aborted: they never will be.
	Aborted
	// Expired: the transaction has ended, and the barrier is older than what has been purged.
	Expired
	// WrongDatabase: the token was made in another database.
	WrongDatabase
	// Invalid: the database never made this token.
	Invalid
)

// The letters are those that pgbarrier.check returns, see sql/triggers.sql.
var statuses = [...]struct {
	letter byte
	name   string
	err    error
}{
	Pending:       {'P', "pending", nil},
	Committed:     {'C', "committed", nil},
	Aborted:       {'A', "aborted", ErrAborted},
	Expired:       {'E', "expired", ErrExpired},
	WrongDatabase: {'W', "wrong database", ErrWrongDatabase},
	Invalid:       {'I', "invalid", ErrInvalidToken},
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

func parseStatus(letter byte) (Status, error) {
	for s := range statuses {
		if statuses[s].letter == letter {
			return Status(s), nil
		}
	}
	return 0, fmt.Errorf("the server answered with an unknown outcome %q", letter)
}
