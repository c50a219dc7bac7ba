package integration_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
)

// When recovery ends, a session may still judge by the snapshot that it took before, which hides
// prepared transactions.
func TestAPreparedTransactionIsPendingAllThroughAPromotion(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	prepared := begin(t, r.pool)
	token := createUnannounced(t, prepared)
	execute(t, prepared, "PREPARE TRANSACTION 'p'")
	r.catchUp(t)
	crash(t, r.primary)
	var asking sync.WaitGroup
	stop := make(chan struct{})
	for i := range 8 {
		conn := connect(t, r.replica)
		query := "SELECT outcomes FROM pgbarrier.visible($1)"
		if i%2 == 0 {
			query = "SELECT CASE WHEN pg_is_in_recovery() THEN 'P' ELSE (SELECT outcomes FROM pgbarrier.check($1)) END"
		}
		asking.Go(func() {
			for !stopped(stop) {
				var letter string
				err := conn.QueryRow(t.Context(), query, []string{token.String()}).Scan(&letter)
				if err != nil || letter != "P" {
					t.Errorf("a prepared transaction is %q, %v", letter, err)
					return
				}
			}
		})
	}
	r.promote(t)
	close(stop)
	asking.Wait()
	want(t, r.replica, pgbarrier.Pending, token)
	execute(t, r.replica, "COMMIT PREPARED 'p'")
	want(t, r.replica, pgbarrier.Committed, token)
}

// A transaction that keeps such a snapshot must not take what has committed since then for aborted. The
// moment is short, but of so many sessions some begin a transaction in it in most promotions.
func TestAPreparedTransactionIsNotAbortedForATransactionBegunInAPromotion(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	token := prepare(t, r.pool, "p")
	r.catchUp(t)
	crash(t, r.primary)
	var beginning sync.WaitGroup
	conns := make([]*pgx.Conn, 16)
	for i := range conns {
		conn := connect(t, r.replica)
		conns[i] = conn
		beginning.Go(func() {
			for readOnly := true; readOnly; {
				results, err := conn.PgConn().Exec(t.Context(), `ROLLBACK;
					BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT current_setting('transaction_read_only')`).ReadAll()
				if err != nil {
					t.Error(err)
					return
				}
				readOnly = string(results[2].Rows[0][0]) == "on"
			}
		})
	}
	r.promote(t)
	beginning.Wait()
	execute(t, r.replica, "COMMIT PREPARED 'p'")
	hit := 0
	for _, conn := range conns {
		want(t, conn, pgbarrier.Pending, token)
		if query[bool](t, conn, "SELECT pg_visible_in_snapshot($1::text::xid8, pg_current_snapshot())", fmt.Sprint(token.XID)) {
			hit++
		}
		execute(t, conn, "ROLLBACK")
		want(t, conn, pgbarrier.Committed, token)
	}
	t.Logf("%d of %d transactions had a snapshot of recovery", hit, len(conns))
}

// A snapshot of recovery comes into a transaction of the new primary also by SET TRANSACTION SNAPSHOT.
func TestASnapshotExportedBeforeAPromotionTellsNoFalseAbort(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	good, bad := committed(t, r.pool), aborted(t, r.pool)
	dropped := lostAtSavepoint(t, r.pool)
	tx := begin(t, r.pool)
	running, replayed, prepared := create(t, begin(t, r.pool)), create(t, tx), prepare(t, r.pool, "p")
	early := committed(t, r.pool)
	r.catchUp(t)
	exporter := begin(t, r.replica, repeatableRead)
	snapshot := query[string](t, exporter, "SELECT pg_export_snapshot()")
	commit(t, tx)
	r.catchUp(t)
	crash(t, r.primary)
	r.promote(t)

	importer := begin(t, r.replica, repeatableRead)
	execute(t, importer, "SET TRANSACTION SNAPSHOT '"+snapshot+"'")
	want(t, importer, pgbarrier.Committed, good, early)
	want(t, importer, pgbarrier.Aborted, bad, dropped)
	want(t, importer, pgbarrier.Pending, running, replayed, prepared)
	execute(t, r.replica, "COMMIT PREPARED 'p'")
	want(t, importer, pgbarrier.Pending, running, replayed, prepared)
	want(t, r.replica, pgbarrier.Committed, good, early, replayed, prepared)
	want(t, r.replica, pgbarrier.Aborted, bad, dropped, running)

	// A snapshot that lists nobody because the oldest transaction is our own is not one of recovery.
	own := begin(t, r.replica)
	token := create(t, own)
	late, lateBad, lateDropped := committed(t, r.replica), aborted(t, r.replica), lostAtSavepoint(t, r.replica)
	want(t, own, pgbarrier.Committed, late)
	want(t, own, pgbarrier.Aborted, lateBad, lateDropped)
	want(t, own, pgbarrier.Pending, token)
}
