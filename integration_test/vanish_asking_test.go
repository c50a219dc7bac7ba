package integration_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// sqlOutcomes are the errors of waits, by what pgbarrier.status calls them.
var sqlOutcomes = map[string]error{
	"committed": nil, "aborted": pgbarrier.ErrAborted, "pending": listener.ErrPending, "expired": pgbarrier.ErrExpired,
	"wrong database": pgbarrier.ErrWrongDatabase, "invalid": pgbarrier.ErrInvalidToken,
}

// ways are all the ways to ask what became of a token: each returns nil for committed, the error that a wait
// ends with, or one that tells why there is no answer.
var ways = map[string]func(ctx context.Context, pool *pgxpool.Pool, l *listener.Listener, token pgbarrier.Token) error{
	"Check": func(ctx context.Context, pool *pgxpool.Pool, _ *listener.Listener, token pgbarrier.Token) error {
		return checked(ctx, pool, token)
	},
	"Check in REPEATABLE READ": func(ctx context.Context, pool *pgxpool.Pool, _ *listener.Listener, token pgbarrier.Token) error {
		tx, err := pool.BeginTx(ctx, repeatableRead)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		return checked(ctx, tx, token)
	},
	"Poll": func(ctx context.Context, pool *pgxpool.Pool, _ *listener.Listener, token pgbarrier.Token) error {
		return pgbarrier.Poll(ctx, pool, token)
	},
	"a listener's wait": func(ctx context.Context, _ *pgxpool.Pool, l *listener.Listener, token pgbarrier.Token) error {
		if l == nil {
			return nil
		}
		return l.Wait(ctx, token)
	},
	"AwaitReplica on a primary": func(ctx context.Context, pool *pgxpool.Pool, _ *listener.Listener, token pgbarrier.Token) error {
		return pgbarrier.AwaitReplica(ctx, pool, token)
	},
	"status in SQL": func(ctx context.Context, pool *pgxpool.Pool, _ *listener.Listener, token pgbarrier.Token) error {
		var status string
		if err := pool.QueryRow(ctx, "SELECT pgbarrier.status($1)", token).Scan(&status); err != nil {
			return err
		}
		return sqlOutcomes[status]
	},
	"wait in SQL": func(ctx context.Context, pool *pgxpool.Pool, _ *listener.Listener, token pgbarrier.Token) error {
		var outcome string
		if err := pool.QueryRow(ctx, "SELECT pgbarrier.wait($1, '20 milliseconds')", token).Scan(&outcome); err != nil {
			return err
		}
		return sqlOutcomes[outcome]
	},
}

func checked(ctx context.Context, db pgbarrier.DB, token pgbarrier.Token) error {
	statuses, err := pgbarrier.Check(ctx, db, token)
	if err != nil {
		return err
	}
	if statuses[0] == pgbarrier.Pending {
		return listener.ErrPending
	}
	return statuses[0].Err(token)
}

// asked asks for the token in every way; without a listener, in every way but that.
func asked(t testing.TB, pool *pgxpool.Pool, l *listener.Listener, token pgbarrier.Token, judge func(how string, err error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for how, ask := range ways {
		judge(how, ask(ctx, pool, l, token))
	}
}

// wantAsked fails the test unless every way of asking gives expected (nil: committed) for each of the tokens.
func wantAsked(t testing.TB, pool *pgxpool.Pool, l *listener.Listener, expected error, tokens ...pgbarrier.Token) {
	t.Helper()
	for _, token := range tokens {
		asked(t, pool, l, token, func(how string, err error) {
			if !errors.Is(err, expected) && (l != nil || how != "a listener's wait") {
				t.Errorf("%s gives %v, want %v", how, err, expected)
			}
		})
	}
}

// neverAborted fails the test if any way of asking says that one of the tokens, all committed, has aborted. An
// error that is no outcome is allowed.
func neverAborted(t testing.TB, pool *pgxpool.Pool, l *listener.Listener, tokens ...pgbarrier.Token) {
	t.Helper()
	for i, token := range tokens {
		asked(t, pool, l, token, func(how string, err error) {
			if errors.Is(err, pgbarrier.ErrAborted) {
				t.Errorf("%s says that a committed token has aborted (%d of %d)", how, i+1, len(tokens))
			}
		})
	}
}

// wantByRows fails the test unless each of the tokens, all committed, is committed if its row is there, and
// expired otherwise. It returns how many have expired.
func wantByRows(t testing.TB, pool *pgxpool.Pool, l *listener.Listener, tokens ...pgbarrier.Token) (expired int) {
	t.Helper()
	for _, token := range tokens {
		if query[bool](t, pool, "SELECT EXISTS (SELECT FROM pgbarrier.barrier WHERE id = $1 AND xid = $2::text::xid8)",
			token.ID.String(), fmt.Sprint(token.XID)) {
			wantAsked(t, pool, l, nil, token)
			continue
		}
		expired++
		wantAsked(t, pool, l, pgbarrier.ErrExpired, token)
	}
	return expired
}

// wantExact fails the test unless new barriers have their certain outcomes, those lost at a savepoint included.
func wantExact(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	want(t, pool, pgbarrier.Committed, committed(t, pool))
	want(t, pool, pgbarrier.Aborted, aborted(t, pool), lostAtSavepoint(t, pool))
}
