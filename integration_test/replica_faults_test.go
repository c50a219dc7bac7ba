package integration_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// What a standby had received when it was promoted is committed there; what it had not is lost, and
// its waits must not go on forever.
func TestAPromotedReplicaEndsTheWaitsWithWhatItHas(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := replicated(t, nil)
	running := create(t, begin(t, r.pool))
	prepared := begin(t, r.pool)
	preparedToken := createUnannounced(t, prepared)
	execute(t, prepared, "PREPARE TRANSACTION 'p'")
	early := committed(t, r.pool)
	r.catchUp(t)

	r.pause(t)
	received := committed(t, r.pool)
	lsn := query[string](t, r.pool, "SELECT pg_current_wal_flush_lsn()::text")
	eventually(t, "it was received", func() bool {
		return query[bool](t, r.replica, "SELECT pg_last_wal_receive_lsn() >= $1::text::pg_lsn", lsn)
	})
	receivedDone := awaiting(t, ctx, r.replica, received)
	old := begin(t, r.replica, repeatableRead) // its snapshot is older than the promotion
	execute(t, old, "SELECT count(*) FROM pg_class")

	r.disconnect(t)
	lost := committed(t, r.pool)
	if err := pgbarrier.Poll(ctx, r.pool, lost, received); err != nil {
		t.Fatal(err)
	}
	lostDone, runningDone, preparedDone := awaiting(t, ctx, r.replica, lost), awaiting(t, ctx, r.replica, running), awaiting(t, ctx, r.replica, preparedToken)
	stillWaiting(t, receivedDone)

	r.promote(t)
	if err := outcome(t, receivedDone); err != nil {
		t.Errorf("received before the promotion: %v", err)
	}
	wantErr(t, "lost by the promotion", outcome(t, lostDone), pgbarrier.ErrAborted)
	wantErr(t, "running at the promotion", outcome(t, runningDone), pgbarrier.ErrAborted)
	stillWaiting(t, preparedDone)
	execute(t, r.replica, "COMMIT PREPARED 'p'")
	if err := outcome(t, preparedDone); err != nil {
		t.Errorf("prepared at the promotion: %v", err)
	}
	if err := pgbarrier.AwaitReplica(ctx, old, early); err != nil {
		t.Errorf("what the older snapshot has: %v", err)
	}
	for _, token := range []pgbarrier.Token{running, received, lost, preparedToken} {
		if err := pgbarrier.AwaitReplica(ctx, old, token); err == nil || !strings.Contains(err.Error(), "one snapshot") {
			t.Errorf("what the older snapshot has not: %v", err)
		}
	}
	// The lost one's transaction id is handed out again here.
	for nextXID(t, r.replica) <= lost.XID {
		wantVisible(t, r.replica, "CA", committed(t, r.replica), lost)
	}
	wantVisible(t, r.replica, "A", lost)
}

// A standby of the promoted one follows it into the new history, and tells what was lost once it is
// promoted itself.
func TestAStandbyOfAPromotedOneFollowsIt(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	next, err := r.standby.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = next.Close() })
	r.catchUp(t)
	r.disconnect(t)
	lost := committed(t, r.pool)
	second := replication{primary: r.standby, standby: next, pool: r.replica, replica: open(t, next.URL())}
	wantVisible(t, second.replica, "P", lost)
	done := awaiting(t, t.Context(), second.replica, lost)
	r.promote(t)
	for nextXID(t, second.pool) <= lost.XID {
		committed(t, second.pool)
	}
	second.catchUp(t)
	if err := pgbarrier.AwaitReplica(t.Context(), second.replica, committed(t, second.pool)); err != nil {
		t.Error(err)
	}
	stillWaiting(t, done)
	second.promote(t)
	wantErr(t, "lost by the promotion", outcome(t, done), pgbarrier.ErrAborted)
}

// Replaying a lock cancels whoever reads the table (SQLSTATE 40001).
func TestAReplicaWaitOutlivesRecoveryConflicts(t *testing.T) {
	t.Parallel()
	r := replicated(t, map[string]string{"max_standby_streaming_delay": "0", "max_standby_archive_delay": "0"})
	// A question that takes long enough to be met in the middle, its locks taken.
	execute(t, r.pool, "CREATE TABLE public.locked ()")
	disturbed(t, r.pool, "IF pg_is_in_recovery() THEN PERFORM FROM public.locked; PERFORM pg_sleep(0.3); END IF")
	tx := begin(t, r.pool)
	token := create(t, tx)
	r.catchUp(t)
	conflicts := func() int {
		return query[int](t, r.replica, "SELECT confl_lock FROM pg_stat_database_conflicts WHERE datname = current_database()")
	}
	done := awaiting(t, t.Context(), r.replica, token)

	// In a transaction there is no second question: the error says why.
	inTx := begin(t, r.replica, readCommitted)
	inTxDone := make(chan error, 1)
	go func() { inTxDone <- replicaPoller.AwaitReplica(t.Context(), inTx, token) }()

	// A question that was over before the lock is replayed is not cancelled: then it is the next one.
	before := conflicts()
	eventually(t, "questions were cancelled", func() bool {
		eventually(t, "one is asked", func() bool {
			return query[bool](t, r.replica, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')")
		})
		execute(t, r.pool, "BEGIN; LOCK TABLE public.locked; COMMIT")
		return conflicts() >= before+3
	})
	stillWaiting(t, done)
	if err := outcome(t, inTxDone); err == nil || !strings.Contains(err.Error(), "conflict with recovery") {
		t.Errorf("in a transaction that was cancelled: %v", err)
	}
	commit(t, tx)
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}
}

// A session that is terminated, as a dropped database or an administrator does, is replaced.
func TestAReplicaWaitOutlivesItsSessionAndTheServer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := replicated(t, nil)
	tx := begin(t, r.pool)
	token := create(t, tx)
	r.catchUp(t)
	done := awaiting(t, ctx, r.replica, token)
	conn := connect(t, r.replica)
	connDone := make(chan error, 1)
	go func() { connDone <- replicaPoller.AwaitReplica(ctx, conn, token) }()
	for range 3 {
		execute(t, r.replica, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pgbarrier.visible%'`)
		stillWaiting(t, done)
	}
	crash(t, r.standby)
	if err := outcome(t, connDone); err == nil {
		t.Error("a single connection came back")
	}
	down, cancel := context.WithCancel(ctx)
	defer cancel()
	// With the second failure in vain the first is known.
	refused := open(t, r.standby.URL(), func(c *pgxpool.Config) { c.ConnConfig.Tracer = &refusals{enough: 2, then: cancel} })
	err := replicaPoller.AwaitReplica(down, refused, token)
	wantErr(t, "while the replica is down", err, context.Canceled)
	if !strings.Contains(err.Error(), "failed to connect") {
		t.Errorf("%v does not tell that the replica is down", err)
	}
	commit(t, tx)
	if err := pgbarrier.Poll(ctx, r.pool, token); err != nil {
		t.Fatal(err)
	}
	stillWaiting(t, done)
	if err := r.standby.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}

	// With the primary down the standby still answers, of what it has.
	crash(t, r.primary)
	if err := pgbarrier.AwaitReplica(ctx, r.replica, token); err != nil {
		t.Error(err)
	}
}

// refusals does something when so many connections could not be made.
type refusals struct {
	seen   atomic.Int32
	enough int32
	then   func()
}

func (r *refusals) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}

func (r *refusals) TraceConnectEnd(_ context.Context, data pgx.TraceConnectEndData) {
	if data.Err != nil && r.seen.Add(1) == r.enough {
		r.then()
	}
}

func (r *refusals) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (r *refusals) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A purge that the standby replays takes the row and leaves the horizon: that is expired, unless the
// row is still to come.
func TestAPurgeThatIsReplayedExpiresABarrierOnTheStandby(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	long := begin(t, r.pool)
	longToken := create(t, long)
	good, bad := committed(t, r.pool), aborted(t, r.pool)
	r.catchUp(t)
	wantVisible(t, r.replica, "PCP", longToken, good, bad)

	r.pause(t)
	both := committed(t, r.pool)
	purgeAll(t, r.pool)
	want(t, r.pool, pgbarrier.Expired, good, both)
	wantVisible(t, r.replica, "PCPP", longToken, good, bad, both) // as it was
	done := awaiting(t, t.Context(), r.replica, both)
	r.resume(t)
	r.catchUp(t)
	if n := query[int](t, r.replica, "SELECT count(*) FROM pgbarrier.horizon WHERE through > $1", fmt.Sprint(longToken.XID)); n != 1 {
		t.Fatal("the horizon did not pass the running transaction: nothing is tested")
	}
	// Below the horizon, but perhaps of a transaction that has not ended: not certain before the
	// oldest has.
	wantVisible(t, r.replica, "PPP", longToken, good, bad)
	r.pause(t)
	commit(t, long)
	want(t, r.pool, pgbarrier.Committed, longToken)
	longDone := awaiting(t, t.Context(), r.replica, longToken)
	r.resume(t)
	if err := outcome(t, longDone); err != nil {
		t.Errorf("committed after the purge: %v", err)
	}
	// Its row was there between two replayed records, perhaps too briefly to be seen.
	if err := outcome(t, done); err != nil {
		wantErr(t, "purged before it was seen", err, pgbarrier.ErrExpired)
	}
	r.catchUp(t)
	wantVisible(t, r.replica, "CEEE", longToken, good, bad, both)
	want(t, r.pool, pgbarrier.Expired, good, both)
}
