package pgbarrier_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
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
