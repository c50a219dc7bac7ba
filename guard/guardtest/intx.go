package guardtest

import (
	"context"
	"fmt"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// InTx returns the Waiter for a test that runs in one transaction and rolls it back at the end, so that no
// barrier in it ever commits. tx is that transaction. What can be read in it counts as committed, and what
// cannot, because it was rolled back to a savepoint, as aborted: what the code under test would
// have seen had each of its transactions, savepoints here, been one of its own. Nothing is pending: run the
// handlers after the code under test has ended its transactions.
//
// Like the transaction it must not be used by several goroutines at once. The role needs SELECT on pgbarrier.barrier,
// which the owner has. Where handlers run no matter what, guard.Eager will do.
func InTx(tx pgbarrier.DB) guard.Waiter { return inTx{tx} }

type inTx struct{ tx pgbarrier.DB }

func (w inTx) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	statuses := make([]pgbarrier.Status, len(tokens))
	for i, t := range tokens {
		var there bool
		if err := w.tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pgbarrier.barrier WHERE id = $1)", t.ID.String()).Scan(&there); err != nil {
			return nil, fmt.Errorf("pgbarrier: guardtest: look for a barrier in the test's transaction: %w", err)
		}
		if statuses[i] = pgbarrier.Aborted; there {
			statuses[i] = pgbarrier.Committed
		}
	}
	return statuses, nil
}

func (w inTx) Wait(ctx context.Context, tokens ...pgbarrier.Token) error {
	statuses, err := w.Check(ctx, tokens...)
	for i, status := range statuses {
		if aborted := status.Err(tokens[i]); aborted != nil {
			return aborted
		}
	}
	return err
}

// WaitFunc asks at once: nobody else may use the transaction meanwhile.
func (w inTx) WaitFunc(f func(error), tokens ...pgbarrier.Token) (stop func()) {
	f(w.Wait(context.Background(), tokens...))
	return func() {}
}
