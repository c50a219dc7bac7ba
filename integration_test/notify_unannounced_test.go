package integration_test

import (
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

// The setting is as good as the savepoint that it was made in, and there is nothing else to be had.
func TestARolledBackSavepointUndoesWithoutAnnouncement(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	listener := listen(t, pool)

	tx := begin(t, pool)
	before := create(t, tx)
	execute(t, tx, "SAVEPOINT s")
	lost := createUnannounced(t, tx)
	execute(t, tx, "ROLLBACK TO SAVEPOINT s")
	after := create(t, tx)
	commit(t, tx)
	want(t, pool, pgbarrier.Aborted, lost)
	want(t, pool, pgbarrier.Committed, before, after)
	wantHeard(t, pool, listener, before, after)

	tx = begin(t, pool)
	before = createUnannounced(t, tx)
	execute(t, tx, "SAVEPOINT s")
	lost = createUnannounced(t, tx)
	execute(t, tx, "ROLLBACK TO SAVEPOINT s")
	after = create(t, tx)
	commit(t, tx)
	want(t, pool, pgbarrier.Aborted, lost)
	want(t, pool, pgbarrier.Committed, before, after)
	wantHeard(t, pool, listener) // the first one's setting holds

	tx = begin(t, pool)
	before = create(t, tx)
	execute(t, tx, "SAVEPOINT s")
	lost = createUnannounced(t, tx)
	execute(t, tx, "ROLLBACK TO SAVEPOINT s")
	after = createUnannounced(t, tx) // asked for again, it holds again
	commit(t, tx)
	want(t, pool, pgbarrier.Aborted, lost)
	want(t, pool, pgbarrier.Committed, before, after)
	wantHeard(t, pool, listener)
}
