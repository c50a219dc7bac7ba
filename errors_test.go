package pgbarrier_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

func TestAStatusIsAnErrorUnlessPendingOrCommitted(t *testing.T) {
	token := parsed(t, someToken)
	for _, test := range []struct {
		status pgbarrier.Status
		name   string
		err    error
	}{
		{pgbarrier.Pending, "pending", nil},
		{pgbarrier.Committed, "committed", nil},
		{pgbarrier.Aborted, "aborted", pgbarrier.ErrAborted},
		{pgbarrier.Expired, "expired", pgbarrier.ErrExpired},
		{pgbarrier.WrongDatabase, "wrong database", pgbarrier.ErrWrongDatabase},
		{pgbarrier.Invalid, "invalid", pgbarrier.ErrInvalidToken},
		{pgbarrier.Invalid + 1, "Status(6)", nil},
	} {
		if test.status.String() != test.name {
			t.Errorf("Status %d is called %q, want %q", test.status, test.status, test.name)
		}
		err := test.status.Err(token)
		if test.err == nil {
			if err != nil {
				t.Errorf("%v: %v", test.status, err)
			}
			continue
		}
		var tokenErr *pgbarrier.TokenError
		if !errors.Is(err, test.err) || !errors.As(fmt.Errorf("work: %w", err), &tokenErr) || tokenErr.Token != token {
			t.Errorf("%v: %v is not %v about the token", test.status, err, test.err)
		}
		for _, other := range []error{pgbarrier.ErrAborted, pgbarrier.ErrExpired, pgbarrier.ErrWrongDatabase, pgbarrier.ErrInvalidToken} {
			if !errors.Is(other, test.err) && errors.Is(err, other) {
				t.Errorf("%v is also %v", err, other)
			}
		}
		if !strings.Contains(err.Error(), someToken) {
			t.Errorf("%q does not name the token", err)
		}
	}
}

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
		err := pgbarrier.Explain("test", fmt.Errorf("driver: %w", test.err))
		if errors.Is(err, pgbarrier.ErrNotMigrated) != test.notMigrated {
			t.Errorf("%v: %q", test.err, err)
		}
		if !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.say) || !strings.HasPrefix(err.Error(), "pgbarrier: test: ") {
			t.Errorf("%v became %q, which does not say %q", test.err, err, test.say)
		}
	}
}

func TestANilDatabaseHandleIsAnErrorNotAPanic(t *testing.T) {
	ctx := t.Context()
	for name, db := range map[string]pgbarrier.DB{"nil": nil, "nil pool": (*pgxpool.Pool)(nil), "nil conn": (*pgx.Conn)(nil)} {
		t.Run(name, func(t *testing.T) {
			_, checkErr := pgbarrier.Check(ctx, db, parsed(t, someToken))
			_, purgeErr := pgbarrier.Purge(ctx, db, time.Hour)
			for what, err := range map[string]error{
				"Check": checkErr, "Purge": purgeErr,
				"Migrate":      pgbarrier.Migrate(ctx, db),
				"CheckSchema":  pgbarrier.CheckSchema(ctx, db),
				"Poll":         pgbarrier.Poll(ctx, db, parsed(t, someToken)),
				"AwaitReplica": pgbarrier.AwaitReplica(ctx, db, parsed(t, someToken)),
			} {
				if err == nil || !strings.Contains(err.Error(), "handle is nil") {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}
