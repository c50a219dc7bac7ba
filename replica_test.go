package pgbarrier_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// replies is a replica that answers each question with the next of its replies, and goes on with the
// last one.
type replies struct {
	pgbarrier.DB
	next  []reply
	asked int
}

type reply struct {
	outcomes    string // W: of another origin
	oneSnapshot bool
	err         error
}

func (r *replies) QueryRow(context.Context, string, ...any) pgx.Row {
	row := r.next[min(r.asked, len(r.next)-1)]
	r.asked++
	return row
}

func (r reply) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	*into[0].(*int), *into[1].(*string), *into[2].(*string), *into[3].(*string) = wire.SchemaVersion, r.origin(), "10:10:", strings.ReplaceAll(r.outcomes, "W", "P")
	*into[4].(*bool) = r.oneSnapshot
	return nil
}

func (r reply) origin() string {
	if r.outcomes == "W" {
		return "00000000"
	}
	return someToken[len(someToken)-8:]
}

func failure(state string) reply { return reply{err: &pgconn.PgError{Code: state, Message: "told"}} }

func TestAReplicaWaitGoesOnWhileItMay(t *testing.T) {
	token := parsed(t, someToken)
	for name, test := range map[string]struct {
		replies []reply
		asked   int
		err     error
		say     string
	}{
		"there at once":     {[]reply{{outcomes: "C"}}, 1, nil, ""},
		"replayed later":    {[]reply{{outcomes: "P"}, {outcomes: "P"}, {outcomes: "C"}}, 3, nil, ""},
		"recovery conflict": {[]reply{failure("40001"), {outcomes: "P"}, failure("40P01"), {outcomes: "C"}}, 4, nil, ""},
		"down and back":     {[]reply{failure("57P01"), failure("57P02"), failure("57P03"), failure("57P04"), {outcomes: "C"}}, 5, nil, ""},
		"promoted, lost":    {[]reply{{outcomes: "P"}, {outcomes: "A"}}, 2, pgbarrier.ErrAborted, ""},
		"purged":            {[]reply{{outcomes: "P"}, {outcomes: "E"}}, 2, pgbarrier.ErrExpired, ""},
		"wrong database":    {[]reply{{outcomes: "W"}}, 1, pgbarrier.ErrWrongDatabase, ""},
		"invalid":           {[]reply{{outcomes: "I"}}, 1, pgbarrier.ErrInvalidToken, ""},
		"one snapshot with": {[]reply{{outcomes: "C", oneSnapshot: true}}, 1, nil, ""},
		"one without":       {[]reply{{outcomes: "P", oneSnapshot: true}}, 1, nil, "one snapshot"},
		"one, aborted":      {[]reply{{outcomes: "A", oneSnapshot: true}}, 1, pgbarrier.ErrAborted, ""},
		"no function":       {[]reply{failure("42883")}, 1, pgbarrier.ErrNotMigrated, ""},
		"no grant":          {[]reply{failure("42501")}, 1, nil, "lacks a grant"},
		"not understood":    {[]reply{{outcomes: "X"}}, 1, nil, "unknown outcome"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				replica := &replies{next: test.replies}
				err := pgbarrier.AwaitReplica(t.Context(), replica, token)
				if replica.asked != test.asked {
					t.Errorf("it was asked %d times, want %d", replica.asked, test.asked)
				}
				switch {
				case test.err == nil && test.say == "":
					if err != nil {
						t.Error(err)
					}
				case test.err != nil && !errors.Is(err, test.err), err == nil, !strings.Contains(err.Error(), test.say):
					t.Errorf("the error is %v, want %v that says %q", err, test.err, test.say)
				}
			})
		})
	}
}

func TestAReplicaWaitThatRunsOutOfTimeTellsTheLastFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		token := parsed(t, someToken)
		err := pgbarrier.AwaitReplica(ctx, &replies{next: []reply{failure("40001")}}, token)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "told") {
			t.Errorf("while it was out: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		behind := &replies{next: []reply{failure("40001"), {outcomes: "P"}}}
		if err := pgbarrier.AwaitReplica(ctx, behind, token); err != context.DeadlineExceeded {
			t.Errorf("while it was behind: %v", err)
		}
		if behind.asked > 75 { // 1, 2, 4 … 1000 ms apart
			t.Errorf("asked %d times in a minute", behind.asked)
		}
	})
}
