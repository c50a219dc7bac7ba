package pgbarrier

import (
	"context"
	"fmt"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// checkBatch bounds one statement of Check: 10,000 tokens are about 400 kB.
const checkBatch = 10_000

// Check finds what became of the tokens' transactions, in their order. Any number of tokens may be
// asked for at once, also none; the same may come twice.
//
// db must lead to the primary: a standby is [ErrStandby]. Inside the transaction that created the
// barrier it is Pending. Inside another transaction with one snapshot (REPEATABLE READ,
// SERIALIZABLE) statuses are those of that snapshot and do not move on; if it is read-only they are
// refused, and in SERIALIZABLE the check is a reader like others, which can make a producer's COMMIT fail
// (40001, serialization_failure). Where that is merely the session's default, a pool or a connection checks in
// a READ COMMITTED transaction of its own.
// The role needs EXECUTE on pgbarrier.check(uuid[], xid8[]).
func Check(ctx context.Context, db DB, tokens ...Token) ([]Status, error) {
	q := question{doing: "check", ask: wire.Check[Token]}
	statuses := make([]Status, 0, len(tokens))
	for {
		n := min(len(tokens), checkBatch)
		answer, err := q.put(ctx, db, tokens[:n])
		if err != nil {
			return nil, err
		}
		statuses = append(statuses, answer...)
		if tokens = tokens[n:]; len(tokens) == 0 {
			return statuses, nil
		}
	}
}

// A question is asked about tokens, in one statement each time it is put.
type question struct {
	doing string
	ask   func(ctx context.Context, db wire.DB, tokens []Token) (wire.Answer, error)
}

func (q *question) put(ctx context.Context, db DB, tokens []Token) ([]Status, error) {
	if err := requireDB(db); err != nil {
		return nil, err
	}
	for _, t := range tokens {
		if err := t.Valid(); err != nil {
			return nil, fmt.Errorf("pgbarrier: %s: %w", q.doing, err)
		}
	}

	answer, err := q.ask(ctx, db, tokens)
	if err != nil {
		return nil, err
	}
	statuses := make([]Status, len(tokens))
	for i, outcome := range answer.Outcomes {
		statuses[i] = Status(outcome)
	}
	return statuses, nil
}

// isBroken reports whether db is one connection that will not answer again: it is closed, or its
// transaction has failed.
func isBroken(db DB) bool {
	conn := wire.OneConn(db)
	return conn != nil && (conn.IsClosed() || conn.PgConn().TxStatus() == 'E')
}
