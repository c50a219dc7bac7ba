package integration_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

func TestStatusesComeInTheOrderOfTheTokens(t *testing.T) {
	t.Parallel()
	pool, other := migratedDatabase(t), migratedDatabase(t)
	pending := create(t, begin(t, pool))
	forged := committed(t, pool)
	forged.XID = 3 // of a transaction that has ended
	tokens := []pgbarrier.Token{pending, committed(t, pool), aborted(t, pool), committed(t, other), forged, lostAtSavepoint(t, pool)}
	expected := []pgbarrier.Status{pgbarrier.Pending, pgbarrier.Committed, pgbarrier.Aborted, pgbarrier.WrongDatabase, pgbarrier.Invalid, pgbarrier.Aborted}
	for range 20 {
		rand.Shuffle(len(tokens), func(i, j int) {
			tokens[i], tokens[j] = tokens[j], tokens[i]
			expected[i], expected[j] = expected[j], expected[i]
		})
		got, err := pgbarrier.Check(t.Context(), pool, tokens...)
		if err != nil || !slices.Equal(got, expected) {
			t.Fatalf("got %v, %v, want %v", got, err, expected)
		}
	}
}

func TestNoTokensAreNoStatuses(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	if got, err := pgbarrier.Check(t.Context(), pool); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	answer, err := wire.Check(t.Context(), pool, []pgbarrier.Token(nil))
	if err != nil || answer.Origin != committed(t, pool).Origin || answer.Snapshot.Xmax == 0 {
		t.Errorf("got %+v, %v", answer, err)
	}
}

func TestTheSameTokenMayComeTwice(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	good, bad := committed(t, pool), aborted(t, pool)
	want(t, pool, pgbarrier.Committed, good, good, good)
	want(t, pool, pgbarrier.Aborted, bad, bad)
}

// More than one statement's worth, of both outcomes, a few of them lost at savepoints.
func TestTwentyFiveThousandTokensGoInOneCheck(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	// As create does, all at once.
	many := func(tx pgx.Tx) []pgbarrier.Token {
		rows, _ := tx.Query(t.Context(), `
			WITH made AS (INSERT INTO pgbarrier.barrier SELECT FROM generate_series(1, 12500) RETURNING id, xid)
			SELECT concat_ws('.', 'pgb1', id, xid, (SELECT origin FROM pgbarrier.here)) FROM made`)
		tokens, err := pgx.CollectRows(rows, pgx.RowTo[pgbarrier.Token])
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	tx1, tx2 := begin(t, pool), begin(t, pool)
	good, bad := many(tx1), many(tx2)
	commit(t, tx1)
	rollback(t, tx2)
	truth := map[pgbarrier.Token]pgbarrier.Status{}
	for i := range good {
		truth[good[i]], truth[bad[i]] = pgbarrier.Committed, pgbarrier.Aborted
	}
	tokens := append(good, bad...)
	rand.Shuffle(len(tokens), func(i, j int) { tokens[i], tokens[j] = tokens[j], tokens[i] })
	got, err := pgbarrier.Check(t.Context(), pool, tokens...)
	if err != nil || len(got) != len(tokens) || len(truth) != 25_000 {
		t.Fatalf("got %d statuses of %d tokens, %v", len(got), len(truth), err)
	}
	for i, token := range tokens {
		if got[i] != truth[token] {
			t.Fatalf("%v is %v, want %v", token, got[i], truth[token])
		}
	}
}

func TestAnInvalidTokenIsRefusedBeforeTheServerIsAsked(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	_, err := pgbarrier.Check(t.Context(), pool, committed(t, pool), pgbarrier.Token{})
	wantErr(t, "Check", err, pgbarrier.ErrInvalidToken)
}

// Whoever forges a token learns nothing that is wrong for others, and breaks nothing.
func TestForgedTokensHaveNoFalseOutcome(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	earlier, good := committed(t, pool), committed(t, pool)
	running := create(t, begin(t, pool))

	wrongXID := good
	wrongXID.XID = running.XID // rows are looked up for what has ended
	want(t, pool, pgbarrier.Pending, wrongXID)
	wrongXID.XID = earlier.XID // an own one, for a neighbour's may still run in another database
	want(t, pool, pgbarrier.Invalid, wrongXID)
	wrongXID.XID = 1<<63 - 1
	want(t, pool, pgbarrier.Invalid, wrongXID)

	wrongID := good
	wrongID.ID[15]++
	want(t, pool, pgbarrier.Aborted, wrongID) // no such row, and the transaction has ended
	wrongID.XID = running.XID
	want(t, pool, pgbarrier.Pending, wrongID)
	for _, xid := range []uint64{3, good.XID, good.XID + 1_000_000, 1<<32 + 3, 1<<63 - 1} { // ended, or not begun
		wrongID.XID = xid
		want(t, pool, pgbarrier.Aborted, wrongID)
	}
	future := wrongID
	future.XID = good.XID + 1_000_000
	for _, xid := range []uint64{1, 2, 1 << 32, 1<<32 + 1, 1<<32 + 2, 1<<62 + 1} { // special, never handed out
		wrongID.XID = xid
		want(t, pool, pgbarrier.Invalid, wrongID)
		// Nor do they hide that another one is in the future.
		if got, err := pgbarrier.Check(t.Context(), pool, wrongID, future); err != nil || got[1] != pgbarrier.Aborted {
			t.Errorf("beside xid %d: %v, %v", xid, got, err)
		}
	}
	wrongOrigin := good
	wrongOrigin.Origin++
	want(t, pool, pgbarrier.WrongDatabase, wrongOrigin)
	want(t, pool, pgbarrier.Committed, good)
}

// The function is for any language, so it must stand any text.
func TestTheSQLFunctionsTakeAnyText(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	good := committed(t, pool).String()
	texts := []string{good, "", "pgb1.", good + ".", good + "\n", "\n" + good, " " + good, strings.ToUpper(good),
		strings.Replace(good, ".", "x", 1), good[:len(good)-1], good[:40], strings.Repeat(good, 1000), "'; DROP SCHEMA pgbarrier; --", "é☃"}
	want := "C" + strings.Repeat("I", len(texts)-1)
	for _, conforming := range []string{"on", "off"} {
		tx := begin(t, pool)
		execute(t, tx, "SELECT set_config('standard_conforming_strings', $1, true)", conforming)
		if got := query[string](t, tx, "SELECT outcomes FROM pgbarrier.check($1)", texts); got != want {
			t.Errorf("with standard_conforming_strings %s the outcomes are %s, want %s", conforming, got, want)
		}
		if got := query[string](t, tx, "SELECT outcomes FROM pgbarrier.check(ARRAY[NULL, $1, NULL])", good); got != "ICI" {
			t.Errorf("with nulls the outcomes are %s", got)
		}
		if got := query[string](t, tx, "SELECT outcomes FROM pgbarrier.check(NULL)"); got != "" {
			t.Errorf("of null the outcomes are %q", got)
		}
		execute(t, tx, "SELECT pgbarrier.purge('1 day'), pgbarrier.status($1), pgbarrier.create()", good)
		rollback(t, tx)
	}
	for text, status := range map[string]string{good: "committed", aborted(t, pool).String(): "aborted", "x": "invalid",
		good[:len(good)-8] + "00000000": "wrong database", lostAtSavepoint(t, pool).String(): "aborted"} {
		if got := query[string](t, pool, "SELECT pgbarrier.status($1)", text); got != status {
			t.Errorf("status(%s) is %s, want %s", text, got, status)
		}
	}
}

// With one snapshot for the whole transaction, statuses are those of that snapshot.
func TestInATransactionWithOneSnapshotStatusesDoNotMoveOn(t *testing.T) {
	for _, options := range []pgx.TxOptions{repeatableRead, serializable} {
		t.Run(string(options.IsoLevel), func(t *testing.T) {
			t.Parallel()
			pool := migratedDatabase(t)
			tx1, tx2 := begin(t, pool), begin(t, pool)
			good, bad := create(t, tx1), create(t, tx2)
			early, dropped := committed(t, pool), lostAtSavepoint(t, pool)
			reader := begin(t, pool, options)
			want(t, reader, pgbarrier.Committed, early)
			want(t, reader, pgbarrier.Aborted, dropped)
			commit(t, tx1)
			rollback(t, tx2)
			late, lateBad := committed(t, pool), aborted(t, pool)
			want(t, reader, pgbarrier.Pending, good, bad, late, lateBad)
			want(t, reader, pgbarrier.Committed, early)
			rollback(t, reader)
			want(t, pool, pgbarrier.Committed, good, late)
			want(t, pool, pgbarrier.Aborted, bad, lateBad)
		})
	}
}

// Such a snapshot may have been taken before a promotion, see sql/triggers.sql.
func TestAReadOnlyTransactionWithOneSnapshotIsRefused(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		_, err := pgbarrier.Check(t.Context(), begin(t, pool, pgx.TxOptions{IsoLevel: level, AccessMode: pgx.ReadOnly}), token)
		if err == nil || !strings.Contains(err.Error(), "read-only transaction with one snapshot") {
			t.Errorf("%s: %v", level, err)
		}
	}
	want(t, begin(t, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadOnly}), pgbarrier.Committed, token)
}

// A worker that only waits must not use up transaction ids, nor do the checks show in pg_locks.
func TestCheckingAssignsNoTransactionID(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	lost := token
	lost.ID[15]++
	lost.XID += 1000 // goes through the exception handler
	tx := begin(t, pool)
	want(t, tx, pgbarrier.Committed, token)
	want(t, tx, pgbarrier.Aborted, lost)
	if xid := query[*string](t, tx, "SELECT pg_current_xact_id_if_assigned()::text"); xid != nil {
		t.Errorf("checking took transaction id %s", *xid)
	}
}

func TestChecksDoNotScanTheTableOnceItHasGrown(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	conn := connect(t, pool)
	token := committed(t, pool)
	for range 10 { // long enough for a generic plan
		want(t, conn, pgbarrier.Committed, token)
	}
	insertBarriers(t, pool, 20_000)
	tx := begin(t, conn)
	want(t, tx, pgbarrier.Committed, token)
	if n := query[int64](t, tx, "SELECT pg_stat_get_xact_tuples_returned('pgbarrier.barrier'::regclass)"); n > 0 {
		t.Errorf("a check read %d rows by scanning", n)
	}
}
