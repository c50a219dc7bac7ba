package integration_test

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// purgeAll purges all committed barriers. One of this very millisecond is not old enough.
func purgeAll(t testing.TB, db pgbarrier.DB) (purged int64) {
	t.Helper()
	eventually(t, "all is purged", func() bool {
		n, err := pgbarrier.Purge(t.Context(), db, time.Nanosecond)
		if err != nil {
			t.Fatal(err)
		}
		purged += n
		return countBarriers(t, db) == 0
	})
	return purged
}

// nextMillisecond waits until ids are greater than those of before, by the server's clock.
func nextMillisecond(t testing.TB, db pgbarrier.DB) {
	t.Helper()
	const now = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
	before := query[int64](t, db, now)
	eventually(t, "the next millisecond begins", func() bool { return query[int64](t, db, now) > before })
}

func TestAPurgedBarrierIsExpiredUnlessItCertainlyAborted(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	good, bad, lost := committed(t, pool), aborted(t, pool), lostAtSavepoint(t, pool)
	nextMillisecond(t, pool) // within one, ids are in no order, and the horizon may be below the lost one
	last := committed(t, pool)
	if purged := purgeAll(t, pool); purged != 2 {
		t.Errorf("purged %d, want 2", purged)
	}
	want(t, pool, pgbarrier.Expired, good, lost, last)
	want(t, pool, pgbarrier.Aborted, bad)
	wantErr(t, "Poll", pgbarrier.Poll(t.Context(), pool, good), pgbarrier.ErrExpired)

	nextMillisecond(t, pool)
	want(t, pool, pgbarrier.Committed, committed(t, pool))
	want(t, pool, pgbarrier.Aborted, lostAtSavepoint(t, pool))
}

func TestPurgeTakesWhatIsOlderThanTheRetentionOnly(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	// As if made an hour ago.
	execute(t, pool, "INSERT INTO pgbarrier.barrier VALUES (pgbarrier.first_id(now() - interval '1 hour'), '3')")
	for _, retention := range []time.Duration{1<<63 - 1, 2 * time.Hour, 61 * time.Minute} {
		if n, err := pgbarrier.Purge(t.Context(), pool, retention); err != nil || n != 0 {
			t.Errorf("purged %d with a retention of %v, %v", n, retention, err)
		}
	}
	if n, err := pgbarrier.Purge(t.Context(), pool, 59*time.Minute); err != nil || n != 1 {
		t.Errorf("purged %d, %v", n, err)
	}
	want(t, pool, pgbarrier.Committed, token)
	want(t, pool, pgbarrier.Aborted, lostAtSavepoint(t, pool))
}

func TestPurgeGoesInBatches(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	horizon := "SELECT through::text::bigint FROM pgbarrier.horizon"
	before := query[int64](t, pool, horizon)
	for range 5 {
		insertBarriers(t, pool, 5000)
	}
	nextMillisecond(t, pool)
	for range 2 {
		if n := query[int](t, pool, "SELECT pgbarrier.purge('1 microsecond', 100)"); n != 100 {
			t.Errorf("a batch of 100 purged %d", n)
		}
	}
	if after := query[int64](t, pool, horizon); after <= before {
		t.Errorf("the horizon went from %d to %d", before, after)
	}
	if purged := purgeAll(t, pool); purged != 24_800 {
		t.Errorf("purged %d, want 24800", purged)
	}
}

func TestARetentionThatIsNotPositiveIsRefused(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	for _, retention := range []time.Duration{0, -1, -time.Hour} {
		if _, err := pgbarrier.Purge(t.Context(), pool, retention); err == nil || !strings.Contains(err.Error(), "must be longer than zero") {
			t.Errorf("%v: %v", retention, err)
		}
	}
	for _, args := range []string{"'0'", "'-1 day'", "NULL", "'1 month -31 days'", "'1 day', 0", "'1 day', -1"} {
		if _, err := pool.Exec(t.Context(), "SELECT pgbarrier.purge("+args+")"); err == nil || !strings.Contains(err.Error(), "22023") {
			t.Errorf("purge(%s): %v", args, err)
		}
	}
	want(t, pool, pgbarrier.Committed, token)
}

func TestOnlyOneSessionPurgesAtATime(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	holder := begin(t, pool)
	execute(t, holder, "SELECT pgbarrier.purge('1 day')")
	nextMillisecond(t, pool)
	if n, err := pgbarrier.Purge(t.Context(), pool, time.Nanosecond); err != nil || n != 0 {
		t.Errorf("purged %d, %v", n, err)
	}
	want(t, pool, pgbarrier.Committed, token)
	rollback(t, holder)
	purgeAll(t, pool)
}

// The horizon passes transactions that are still running. Theirs is to be pending, and then right.
func TestATransactionOlderThanTheHorizonIsStillPendingAndThenRight(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	good, bad, half := begin(t, pool), begin(t, pool), begin(t, pool)
	goodToken, badToken := create(t, good), create(t, bad)
	execute(t, half, "SAVEPOINT s")
	halfToken := create(t, half)
	execute(t, half, "ROLLBACK TO SAVEPOINT s")
	prepared := begin(t, pool)
	preparedToken := createUnannounced(t, prepared)
	execute(t, prepared, "PREPARE TRANSACTION 'p'")
	nextMillisecond(t, pool)
	committed(t, pool)
	purgeAll(t, pool)
	if n := query[int](t, pool, "SELECT count(*) FROM pgbarrier.horizon WHERE through > $1", strconv.FormatUint(preparedToken.XID, 10)); n != 1 {
		t.Fatal("the horizon did not pass them: nothing is tested")
	}
	want(t, pool, pgbarrier.Pending, goodToken, badToken, halfToken, preparedToken)
	commit(t, good)
	rollback(t, bad)
	commit(t, half)
	execute(t, pool, "COMMIT PREPARED 'p'")
	want(t, pool, pgbarrier.Committed, goodToken, preparedToken)
	want(t, pool, pgbarrier.Aborted, badToken)
	want(t, pool, pgbarrier.Expired, halfToken) // or lost to a purge: that is not known any more
	purgeAll(t, pool)
	want(t, pool, pgbarrier.Expired, goodToken, preparedToken)
}

// With an older snapshot the row is there and the horizon below it, whatever was purged since.
func TestAnOlderSnapshotSeesWhatWasPurgedSince(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	good, lost := committed(t, pool), lostAtSavepoint(t, pool)
	reader := begin(t, pool, repeatableRead)
	want(t, reader, pgbarrier.Committed, good)
	purgeAll(t, pool)
	want(t, reader, pgbarrier.Committed, good)
	want(t, reader, pgbarrier.Aborted, lost)
	want(t, pool, pgbarrier.Expired, good)
}

// A purge that is rolled back, or that runs in a transaction with one snapshot, moves the horizon
// with the rows or neither.
func TestAPurgeAndItsHorizonAreOne(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	nextMillisecond(t, pool)
	tx := begin(t, pool)
	if n, err := pgbarrier.Purge(t.Context(), tx, time.Nanosecond); err != nil || n != 1 {
		t.Fatalf("purged %d, %v", n, err)
	}
	want(t, pool, pgbarrier.Committed, token)
	want(t, tx, pgbarrier.Expired, token)
	rollback(t, tx)
	want(t, pool, pgbarrier.Committed, token)

	old := begin(t, pool, repeatableRead)
	execute(t, old, "SELECT 1")
	committed(t, pool)
	purgeAll(t, pool)
	if _, err := pgbarrier.Purge(t.Context(), old, time.Nanosecond); err == nil {
		commit(t, old)
	} else {
		rollback(t, old)
	}
	want(t, pool, pgbarrier.Expired, token)
}

// Producers, purgers and checkers at once; a barrier may expire under the checker's eyes, but a
// committed one is never aborted, and an aborted one never committed.
func TestPurgingNeverMakesAFalseOutcome(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	var purged atomic.Int64
	stress(t, pool, time.Second, func(stop <-chan struct{}, background *sync.WaitGroup) {
		for range 2 {
			background.Go(func() {
				for !stopped(stop) {
					n, err := pgbarrier.Purge(t.Context(), pool, 20*time.Millisecond)
					if err != nil {
						t.Errorf("purge: %v", err)
						return
					}
					purged.Add(n)
				}
			})
		}
	}, func(planned, seen pgbarrier.Status) bool { return seen == planned || seen == pgbarrier.Expired })
	if purged.Load() == 0 {
		t.Error("nothing was purged")
	}
	t.Logf("purged %d", purged.Load())
}
