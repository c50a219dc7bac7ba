package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

type sqlState string

func (s sqlState) Error() string    { return "SQLSTATE " + string(s) }
func (s sqlState) SQLState() string { return string(s) }

// The interface is that of pgx and of lib/pq, so errors of any driver are explained.
func TestExplainSaysWhatToDo(t *testing.T) {
	for _, test := range []struct {
		err         error
		notMigrated bool
		say         string
	}{
		{sqlState("3F000"), true, "pgbarrier migrate"},
		{sqlState("42883"), true, "psql -f sql/triggers.sql"},
		{&pgconn.PgError{Code: "42P01"}, true, "pgbarrier.Migrate"},
		{sqlState("42703"), true, "pgbarrier.Migrate"},
		{sqlState("42501"), false, "lacks a grant"},
		{sqlState("40001"), false, "SQLSTATE 40001"},
		{context.Canceled, false, "context canceled"},
	} {
		err := Explain("test", fmt.Errorf("driver: %w", test.err))
		if errors.Is(err, ErrNotMigrated) != test.notMigrated {
			t.Errorf("%v: %q", test.err, err)
		}
		if !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.say) || !strings.HasPrefix(err.Error(), "pgbarrier: test: ") {
			t.Errorf("%v became %q, which does not say %q", test.err, err, test.say)
		}
	}
}
