package integration_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// The usual way to test code that writes: all in one transaction that is rolled back. Its own transactions are
// savepoints then.
func TestHandlersCanBeTestedInATransactionThatIsRolledBack(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE orders (id int)")
	tx := begin(t, pool)

	// The code under test.
	var queue []guard.Map
	place := func(order int, undo bool) {
		inner, err := tx.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		execute(t, inner, "INSERT INTO orders VALUES ($1)", order)
		message := guard.Map{}
		if err := guard.Add(message, create(t, inner)); err != nil {
			t.Fatal(err)
		}
		queue = append(queue, message)
		if undo {
			rollback(t, inner)
			return
		}
		commit(t, inner)
	}
	place(1, false)
	place(2, true)
	place(3, false)

	g, err := guard.New(guardtest.InTx(tx), guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []guard.Verdict
	for _, message := range queue {
		verdicts = append(verdicts, g.Decide(t.Context(), message).Verdict)
	}
	if verdicts[0] != guard.Run || verdicts[1] != guard.Drop || verdicts[2] != guard.Run {
		t.Errorf("the verdicts are %v", verdicts)
	}
	rows, err := tx.Query(t.Context(), "SELECT id FROM orders ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	if orders, err := pgx.CollectRows(rows, pgx.RowTo[int]); err != nil || len(orders) != 2 || orders[1] != 3 {
		t.Errorf("the orders are %v, %v", orders, err)
	}
	rollback(t, tx)

	// What really became of it is known to everybody else.
	waiter := pollWaiter{pool}
	for _, message := range queue {
		tokens := guardtest.Carries(t, message)
		if statuses, err := waiter.Check(t.Context(), tokens...); err != nil || statuses[0].Err(tokens[0]) == nil {
			t.Errorf("%v, %v", statuses, err)
		}
	}
	eager, err := guard.New(guard.Eager, guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if d := eager.Decide(t.Context(), queue[1]); d.Verdict != guard.Run {
		t.Errorf("eager code does not run: %+v", d)
	}
}
