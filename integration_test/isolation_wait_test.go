package integration_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

func TestWaitsForProducersOfEveryIsolationLevelEndRight(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE orders (id uuid)")
	l := run(t, pool, listener.Config{})
	for _, options := range []pgx.TxOptions{readCommitted, repeatableRead, serializable} {
		for range 10 {
			commits, aborts := begin(t, pool, options), begin(t, pool, options)
			query[int](t, commits, "SELECT count(*) FROM orders") // takes the snapshot
			good, bad := create(t, commits), create(t, aborts)
			execute(t, commits, "INSERT INTO orders VALUES ($1)", good.ID)
			subGood, subBad := l.Subscribe(good), l.Subscribe(bad)
			commit(t, commits)
			rollback(t, aborts)
			wantEnd(t, subGood, nil)
			wantEnd(t, subBad, pgbarrier.ErrAborted)
			// Also for a worker whose own transaction takes its one snapshot now.
			worker := begin(t, pool, options)
			if n := query[int](t, worker, "SELECT count(*) FROM orders WHERE id = $1", good.ID); n != 1 {
				t.Fatalf("%s: the wait has ended, and the order cannot be read", options.IsoLevel)
			}
			rollback(t, worker)
		}
	}
}

// Two serializable transactions that each read what the other writes: the second COMMIT fails, in the
// middle of making its announcement.
func TestTheWaitForASerializationFailureAtCommitIsAborted(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE accounts (id int, balance int); INSERT INTO accounts VALUES (1, 100), (2, 100)")
	l := run(t, pool, listener.Config{})
	for range 10 {
		first, second := begin(t, pool, serializable), begin(t, pool, serializable)
		for _, tx := range []pgx.Tx{first, second} {
			query[int](t, tx, "SELECT sum(balance) FROM accounts")
		}
		execute(t, first, "UPDATE accounts SET balance = balance - 1 WHERE id = 1")
		execute(t, second, "UPDATE accounts SET balance = balance - 1 WHERE id = 2")
		good, bad := create(t, first), create(t, second)
		subGood, subBad := pending(t, l, good), pending(t, l, bad)
		commit(t, first)
		var pgErr *pgconn.PgError
		if err := second.Commit(t.Context()); !errors.As(err, &pgErr) || pgErr.Code != "40001" {
			t.Fatalf("COMMIT: %v, want a serialization failure", err)
		}
		wantEnd(t, subGood, nil)
		wantEnd(t, subBad, pgbarrier.ErrAborted)
	}
}

// A concurrent update fails a repeatable-read producer before COMMIT, and its COMMIT is a rollback.
func TestTheWaitForAConcurrentUpdateIsAborted(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE accounts (balance int); INSERT INTO accounts VALUES (100)")
	l := run(t, pool, listener.Config{})
	tx := begin(t, pool, repeatableRead)
	sub := pending(t, l, create(t, tx))
	execute(t, pool, "UPDATE accounts SET balance = 1")
	if _, err := tx.Exec(t.Context(), "UPDATE accounts SET balance = 2"); err == nil {
		t.Fatal("the concurrent update went well")
	}
	wantErr(t, "COMMIT", tx.Commit(t.Context()), pgx.ErrTxCommitRollback)
	wantEnd(t, sub, pgbarrier.ErrAborted)
}

// Each barrier shares the fate of the savepoint that it was made in, not of its transaction.
func TestWaitsForBarriersInNestedSavepointsEndRight(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for _, l := range listenersOfEveryKind(t, pool.Config().ConnString()) {
		tx := begin(t, pool)
		kept, lost := []pgbarrier.Token{create(t, tx)}, []pgbarrier.Token(nil)
		outer := nested(t, tx)
		kept = append(kept, create(t, outer))
		dropped := nested(t, outer)
		lost = append(lost, create(t, dropped))
		released := nested(t, dropped)
		lost = append(lost, create(t, released))
		commit(t, released) // into dropped, which goes
		rollback(t, dropped)
		deep := nested(t, nested(t, outer))
		kept = append(kept, create(t, deep))
		commit(t, deep)
		var good, bad []*listener.Subscription
		for _, token := range kept {
			good = append(good, pending(t, l, token))
		}
		for _, token := range lost { // nothing is certain before the whole transaction has ended
			bad = append(bad, pending(t, l, token))
		}
		commit(t, outer)
		commit(t, tx)
		for _, sub := range good {
			wantEnd(t, sub, nil)
		}
		for _, sub := range bad {
			wantEnd(t, sub, pgbarrier.ErrAborted)
		}
		wait(t, l, pgbarrier.ErrAborted, append(kept, lost...)...)
	}
}

func nested(t *testing.T, tx pgx.Tx) pgx.Tx {
	t.Helper()
	savepoint, err := tx.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return savepoint
}
