package integration_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// A standby's snapshot shows running transactions as ended, so it must not be asked.
func TestAStandbyIsRefusedAndAPromotedOneKnows(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := devpg.ForTest(t)
	pool := open(t, s.URL())
	migrate(t, pool)
	good, bad := committed(t, pool), aborted(t, pool)
	standbyServer, err := s.Standby(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standbyServer.Close() })
	standby := open(t, standbyServer.URL())

	running := create(t, begin(t, pool))
	prepared := begin(t, pool)
	preparedToken := createUnannounced(t, prepared)
	execute(t, prepared, "PREPARE TRANSACTION 'p'")
	late := committed(t, pool)
	lsn := query[string](t, pool, "SELECT pg_current_wal_flush_lsn()::text")
	eventually(t, "the standby has it all", func() bool {
		return query[bool](t, standby, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn)
	})
	for _, options := range []pgx.TxOptions{readCommitted, repeatableRead} {
		_, err := pgbarrier.Check(ctx, begin(t, standby, options), running)
		wantErr(t, fmt.Sprintf("Check in %s", options.IsoLevel), err, pgbarrier.ErrStandby)
	}
	_, err = pgbarrier.Check(ctx, standby, good, bad, running)
	wantErr(t, "Check", err, pgbarrier.ErrStandby)
	wantErr(t, "Poll", pgbarrier.Poll(ctx, standby, running), pgbarrier.ErrStandby)

	// Snapshots taken in recovery, kept over the promotion.
	old := begin(t, standby, repeatableRead)
	execute(t, old, "SELECT count(*) FROM pg_class")
	oldRead := begin(t, standby, readCommitted)
	execute(t, oldRead, "SELECT count(*) FROM pg_class")
	want(t, pool, pgbarrier.Pending, running)
	crash(t, s)
	if err := standbyServer.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := pgbarrier.Check(ctx, old, running); err == nil {
		t.Error("a snapshot taken in recovery was judged by")
	}
	want(t, oldRead, pgbarrier.Committed, good, late)
	want(t, standby, pgbarrier.Committed, good, late)
	wantErr(t, "Poll", pgbarrier.Poll(ctx, standby, running), pgbarrier.ErrAborted) // pending for a moment
	want(t, standby, pgbarrier.Aborted, bad, running)
	want(t, standby, pgbarrier.Pending, preparedToken)
	execute(t, standby, "COMMIT PREPARED 'p'")
	want(t, standby, pgbarrier.Committed, preparedToken)
	want(t, standby, pgbarrier.Committed, committed(t, standby))
	if good.Origin != committed(t, standby).Origin {
		t.Error("the origin changed with the promotion")
	}
}
