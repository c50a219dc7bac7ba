package integration_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgbarrier/pgbarrier"
)

var (
	readCommitted  = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
	repeatableRead = pgx.TxOptions{IsoLevel: pgx.RepeatableRead}
	serializable   = pgx.TxOptions{IsoLevel: pgx.Serializable}
)

func TestABarrierSharesItsTransactionsFateAtEveryIsolationLevel(t *testing.T) {
	for _, options := range []pgx.TxOptions{readCommitted, repeatableRead, serializable} {
		t.Run(string(options.IsoLevel), func(t *testing.T) {
			t.Parallel()
			pool := migratedDatabase(t)
			execute(t, pool, "CREATE TABLE orders (id integer)")
			tx1, tx2 := begin(t, pool, options), begin(t, pool, options)
			execute(t, tx1, "INSERT INTO orders VALUES (1)")
			good, second, bad := create(t, tx1), create(t, tx1), create(t, tx2)
			want(t, pool, pgbarrier.Pending, good, second, bad)
			want(t, tx1, pgbarrier.Pending, good, second, bad)
			commit(t, tx1)
			rollback(t, tx2)
			want(t, pool, pgbarrier.Committed, good, second)
			want(t, pool, pgbarrier.Aborted, bad)
			if query[int](t, pool, "SELECT count(*) FROM orders") != 1 {
				t.Error("committed, and the update cannot be read")
			}
		})
	}
}

func TestTheBarrierOfAKilledProducerIsAborted(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	producer := connect(t, pool)
	tx := begin(t, producer)
	token := create(t, tx)
	execute(t, pool, "SELECT pg_terminate_backend($1)", producer.PgConn().PID())
	wantErr(t, "Poll", pgbarrier.Poll(t.Context(), pool, token), pgbarrier.ErrAborted)
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("COMMIT went through on a killed connection")
	}
	want(t, pool, pgbarrier.Aborted, token)
}

func TestTheBarrierOfALostConnectionIsAborted(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	producer := connect(t, pool)
	token := create(t, begin(t, producer))
	_ = producer.PgConn().Conn().Close() // without a Terminate message
	wantErr(t, "Poll", pgbarrier.Poll(t.Context(), pool, token), pgbarrier.ErrAborted)
}

func TestTheBarrierOfAFailedTransactionIsAborted(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	token := create(t, tx)
	if _, err := tx.Exec(t.Context(), "SELECT 1/0"); err == nil {
		t.Fatal("dividing by zero went well")
	}
	// The transaction has failed already, but it has not ended: its xid counts as aborted.
	wantErr(t, "COMMIT", tx.Commit(t.Context()), pgx.ErrTxCommitRollback)
	want(t, pool, pgbarrier.Aborted, token)
}

// A deferred constraint fails the transaction at the last moment, in COMMIT, where the announcement
// is made as well.
func TestTheBarrierOfATransactionThatFailsAtCommitIsAborted(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE a (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")
	listener := listen(t, pool)
	for _, order := range []string{"barrier first", "barrier last"} {
		tx := begin(t, pool)
		var token pgbarrier.Token
		if order == "barrier first" {
			token = create(t, tx)
		}
		execute(t, tx, "INSERT INTO a VALUES (1), (1)")
		if order == "barrier last" {
			token = create(t, tx)
		}
		if err := tx.Commit(t.Context()); err == nil {
			t.Fatal("COMMIT went well")
		}
		want(t, pool, pgbarrier.Aborted, token)
	}
	if heard := hear(t, pool, listener); len(heard) > 0 {
		t.Errorf("heard %q of transactions that failed", heard)
	}
}

func TestAPreparedTransactionIsPendingUntilItIsEnded(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tokens := map[string]pgbarrier.Token{}
	for _, name := range []string{"COMMIT", "ROLLBACK"} {
		tx := begin(t, pool)
		tokens[name] = createUnannounced(t, tx)
		execute(t, tx, "PREPARE TRANSACTION '"+name+"'")
	}
	want(t, pool, pgbarrier.Pending, tokens["COMMIT"], tokens["ROLLBACK"])
	execute(t, pool, "COMMIT PREPARED 'COMMIT'")
	execute(t, pool, "ROLLBACK PREPARED 'ROLLBACK'")
	want(t, pool, pgbarrier.Committed, tokens["COMMIT"])
	want(t, pool, pgbarrier.Aborted, tokens["ROLLBACK"])
}

// PostgreSQL refuses to prepare what has notified. The trigger announces in COMMIT alone.
func TestATransactionWithABarrierCanBePrepared(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	token := create(t, tx)
	execute(t, tx, "PREPARE TRANSACTION 'announced'")
	want(t, pool, pgbarrier.Pending, token)
	execute(t, pool, "COMMIT PREPARED 'announced'")
	want(t, pool, pgbarrier.Committed, token)
}

// Switching announcing off reaches back to barriers of the transaction that were to be announced.
func TestOneUnannouncedBarrierMakesTheTransactionPreparable(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	first := create(t, tx)
	second := createUnannounced(t, tx)
	third := create(t, tx)
	execute(t, tx, "PREPARE TRANSACTION 'p'")
	want(t, pool, pgbarrier.Pending, first, second, third)
	execute(t, pool, "COMMIT PREPARED 'p'")
	want(t, pool, pgbarrier.Committed, first, second, third)
}

func TestALongTransactionElsewhereHoldsNothingUp(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	elsewhere := begin(t, pool, repeatableRead)
	execute(t, elsewhere, "SELECT pg_current_xact_id()")
	good, bad, lost := committed(t, pool), aborted(t, pool), lostAtSavepoint(t, pool)
	want(t, pool, pgbarrier.Committed, good)
	want(t, pool, pgbarrier.Aborted, bad, lost)
}

// COMMIT sent, connection lost: the producer does not know, the check does.
func TestAProducerThatLosesItsConnectionInCommitLearnsTheTruth(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for range 20 {
		producer := connect(t, pool)
		token := create(t, begin(t, producer))
		producer.PgConn().Frontend().SendQuery(&pgproto3.Query{String: "COMMIT"})
		if err := producer.PgConn().Frontend().Flush(); err != nil {
			t.Fatal(err)
		}
		_ = producer.PgConn().Conn().Close()
		err := pgbarrier.Poll(t.Context(), pool, token)
		row := query[bool](t, pool, "SELECT EXISTS (SELECT FROM pgbarrier.barrier WHERE id = $1)", token.ID.String())
		if (err == nil) != row {
			t.Fatalf("the wait said %v, the row is there: %v", err, row)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = producer.Close(ctx)
	}
}

// The snapshot of a producer may be shared with other sessions (parallel dumps do that).
func TestAProducersExportedSnapshotShowsItsBarrierPending(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	producer := begin(t, pool, repeatableRead)
	token := create(t, producer)
	id := query[string](t, producer, "SELECT pg_export_snapshot()")
	importer := begin(t, pool, repeatableRead)
	execute(t, importer, "SET TRANSACTION SNAPSHOT '"+id+"'")
	want(t, importer, pgbarrier.Pending, token)
	commit(t, producer)
	want(t, importer, pgbarrier.Pending, token)
	want(t, pool, pgbarrier.Committed, token)
}

// A procedure may end transactions in between; each barrier is of the one it was created in.
func TestABarrierInAProcedureSharesTheFateOfItsTransaction(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, `CREATE TABLE tokens (token text);
		CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
		DECLARE first text := pgbarrier.create(); second text; third text;
		BEGIN
			COMMIT;
			second := pgbarrier.create();
			ROLLBACK;
			third := pgbarrier.create();
			INSERT INTO tokens VALUES (first), (second), (third);
		END $$`)
	execute(t, pool, "CALL work()")
	for i, status := range []pgbarrier.Status{pgbarrier.Committed, pgbarrier.Aborted, pgbarrier.Committed} {
		want(t, pool, status, query[pgbarrier.Token](t, pool, "SELECT token FROM tokens OFFSET $1 LIMIT 1", i))
	}
}

// Row and announcement are made by the owner's rights, whatever the session thinks of constraints.
func TestConstraintsSetImmediateChangeNoOutcome(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	listener := listen(t, pool)
	tx := begin(t, pool)
	first := create(t, tx)
	execute(t, tx, "SET CONSTRAINTS ALL IMMEDIATE")
	second := create(t, tx)
	execute(t, tx, "SAVEPOINT s")
	lost := create(t, tx)
	execute(t, tx, "ROLLBACK TO SAVEPOINT s")
	wantHeard(t, pool, listener)
	want(t, pool, pgbarrier.Pending, first, second, lost)
	commit(t, tx)
	wantHeard(t, pool, listener) // the trigger has fired, before COMMIT
	want(t, pool, pgbarrier.Committed, first, second)
	want(t, pool, pgbarrier.Aborted, lost)
}
