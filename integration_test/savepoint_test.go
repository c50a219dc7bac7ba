package integration_test

import (
	"strconv"
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

func TestABarrierSharesItsSavepointsFate(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	before := create(t, tx)
	execute(t, tx, "SAVEPOINT a")
	released := create(t, tx)
	execute(t, tx, "SAVEPOINT b")
	nested := create(t, tx)
	execute(t, tx, "SAVEPOINT c")
	lost := create(t, tx)
	execute(t, tx, "RELEASE SAVEPOINT c")
	lostAfterRelease := create(t, tx)
	execute(t, tx, "ROLLBACK TO SAVEPOINT b")
	again := create(t, tx)
	execute(t, tx, "RELEASE SAVEPOINT a")
	execute(t, tx, "SAVEPOINT d")
	onlyLost := create(t, tx)
	execute(t, tx, "ROLLBACK TO SAVEPOINT d")
	after := create(t, tx)
	want(t, pool, pgbarrier.Pending, before, released, nested, lost, lostAfterRelease, again, onlyLost, after)
	for _, token := range []pgbarrier.Token{released, lost, after} {
		if token.XID != before.XID {
			t.Errorf("%v has not the top-level transaction's xid, %d", token, before.XID)
		}
	}
	commit(t, tx)
	want(t, pool, pgbarrier.Committed, before, released, again, after)
	want(t, pool, pgbarrier.Aborted, nested, lost, lostAfterRelease, onlyLost)
}

// The xid of the transaction says committed; only the missing row knows.
func TestABarrierOfARolledBackSavepointIsAbortedThoughItsTransactionCommits(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := lostAtSavepoint(t, pool)
	if status := query[string](t, pool, "SELECT pg_xact_status($1::text::xid8)", strconv.FormatUint(token.XID, 10)); status != "committed" {
		t.Fatalf("the transaction is %s", status)
	}
	want(t, pool, pgbarrier.Aborted, token)
}
