package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// setClock makes the ids of barriers to come those of a clock that is off by so much.
func setClock(t *testing.T, pool *pgxpool.Pool, off string) {
	t.Helper()
	execute(t, pool, `ALTER TABLE pgbarrier.barrier ALTER id SET DEFAULT overlay(pgbarrier.first_id(clock_timestamp() + interval '`+off+`')::text
			PLACING right(gen_random_uuid()::text, 12) FROM 25)::uuid`)
	token := committed(t, pool)
	if by := time.Until(token.Created()); strings.HasPrefix(off, "-") != (by < 0) {
		t.Fatalf("the clock is off by %v: nothing is tested", by)
	}
}

// Ids are of the server's clock, and a clock can be set back, by its operator or by a failover to a
// machine whose clock is behind. Then barriers come to be older than some that were purged, and are purged
// before their time: what is not certain any more is expired, never wrong.
func TestWithTheServersClockSetBackOutcomesAreRightOrExpired(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	right := func(when string) {
		t.Helper()
		t.Log(when)
		// A committed barrier has its row, and an aborted transaction is known to be: both are right.
		for range 5 {
			commits, aborts := begin(t, pool), begin(t, pool)
			good, bad := create(t, commits), create(t, aborts)
			lost := lostAtSavepoint(t, pool)
			subGood, subBad := pending(t, l, good), pending(t, l, bad)
			commit(t, commits)
			rollback(t, aborts)
			wantEnd(t, subGood, nil)
			wantEnd(t, subBad, pgbarrier.ErrAborted)
			want(t, pool, pgbarrier.Committed, good)
			want(t, pool, pgbarrier.Aborted, bad)
			// The horizon is a transaction's id, which no clock sets back.
			want(t, pool, pgbarrier.Aborted, lost)
		}
	}
	setClock(t, pool, "-1 day")
	right("set back by a day, nothing purged")
	migrate(t, pool) // the real clock again
	early := committed(t, pool)
	purgeAll(t, pool)
	want(t, pool, pgbarrier.Expired, early)
	setClock(t, pool, "-1 day")
	right("set back by a day, older than what was purged")

	// Barriers of the past are purged before their time; they are expired then, never aborted.
	tx := begin(t, pool)
	running := create(t, tx)
	sub := pending(t, l, running)
	gone := committed(t, pool)
	if n, err := pgbarrier.Purge(t.Context(), pool, time.Hour); err != nil || n == 0 {
		t.Fatalf("purged %d, %v", n, err)
	}
	want(t, pool, pgbarrier.Expired, gone, early)
	commit(t, tx)
	wantEnd(t, sub, nil)
	want(t, pool, pgbarrier.Committed, running)

	// Set forward and back again: what was made in the future outlasts the purge, and is right.
	setClock(t, pool, "1 day")
	right("set forward by a day")
	future := committed(t, pool)
	migrate(t, pool)
	if _, err := pgbarrier.Purge(t.Context(), pool, time.Hour); err != nil {
		t.Fatal(err)
	}
	want(t, pool, pgbarrier.Committed, future)
	right("the real clock")
}
