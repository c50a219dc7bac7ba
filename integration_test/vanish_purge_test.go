package integration_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// buffers counts the pages that the query looks at, those of functions that it calls included: work that no busy
// machine changes.
func buffers(t testing.TB, db pgbarrier.DB, sql string, args ...any) int {
	t.Helper()
	var plan []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := json.Unmarshal([]byte(query[string](t, db, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+sql, args...)), &plan); err != nil {
		t.Fatal(err)
	}
	return plan[0].Plan.Hit + plan[0].Plan.Read
}

// While an old snapshot is held, what is purged stays in the table and in its index. To pass by all of it with
// each batch would be quadratic.
func TestPurgingInBatchesIsLinearWhileAnOldSnapshotIsHeld(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	const batch, batches = 1000, 30
	insertBarriers(t, pool, batch*batches)
	nextMillisecond(t, pool)
	old := begin(t, pool, repeatableRead)
	rows, err := old.Query(t.Context(), "SELECT id FROM pgbarrier.barrier WHERE id >= '00000001-0000-0000-0000-000000000000' ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil || len(ids) != batch*batches {
		t.Fatal(len(ids), err)
	}

	var after *uuid.UUID
	costs := make([]int, batches)
	for i := range costs {
		costs[i] = buffers(t, pool, "SELECT pgbarrier.purge_batch('1 microsecond', $1, $2)", batch, after)
		after = &ids[(i+1)*batch-1]
		if n := countBarriers(t, pool); n != batch*(batches-i-1) {
			t.Fatalf("%d are left after batch %d", n, i+1)
		}
	}
	early, late := costs[1]+costs[2]+costs[3], costs[batches-3]+costs[batches-2]+costs[batches-1]
	t.Logf("pages looked at: three early batches %d, three late ones %d", early, late)
	if late > 2*early {
		t.Errorf("the late batches look at %d pages, the early ones at %d", late, early)
	}
}

func TestPurgingAllInOneCallIsLinearWhileAnOldSnapshotIsHeld(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	var costs []int
	for _, n := range []int{20_000, 80_000} {
		insertBarriers(t, pool, n)
		nextMillisecond(t, pool)
		old := begin(t, pool, repeatableRead)
		query[int](t, old, "SELECT count(*) FROM pgbarrier.barrier")
		costs = append(costs, buffers(t, pool, "SELECT pgbarrier.purge('1 microsecond')"))
		if left := countBarriers(t, pool); left != 0 {
			t.Errorf("%d of %d are left", left, n)
		}
		rollback(t, old)
		execute(t, pool, "VACUUM pgbarrier.barrier")
	}
	t.Logf("pages looked at for 20,000: %d, for 80,000: %d", costs[0], costs[1])
	if costs[1] > 8*costs[0] {
		t.Errorf("four times as many cost %d pages instead of %d", costs[1], costs[0])
	}
}

// afters are the ids that the purging batches began after.
type afters struct{ ids []*uuid.UUID }

func (a *afters) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if len(data.Args) == 3 {
		after, _ := data.Args[2].(*uuid.UUID)
		a.ids = append(a.ids, after)
	}
	return ctx
}

func (a *afters) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestPurgeGoesOnAfterTheBatchBefore(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	var a afters
	traced := open(t, pool.Config().ConnString(), func(c *pgxpool.Config) { c.ConnConfig.Tracer = &a })
	insertBarriers(t, pool, 25_000)
	nextMillisecond(t, pool)
	if n, err := pgbarrier.Purge(t.Context(), traced, time.Nanosecond); n != 25_000 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	if len(a.ids) != 3 || a.ids[0] != nil || a.ids[1] == nil || a.ids[2] == nil {
		t.Errorf("the batches began after %v", a.ids)
	}
}

// What is younger than the retention is not looked at, however much there is.
func TestAPurgeWithLittleToDoLooksAtLittle(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	before := map[string]int{}
	for _, n := range []int{1000, 60_000} {
		insertBarriers(t, pool, n)
		execute(t, pool, "VACUUM ANALYZE pgbarrier.barrier")
		conn := connect(t, pool)
		for _, sql := range []string{"SELECT pgbarrier.purge('1 hour')", "SELECT pgbarrier.purge('1 hour', 100)", "SELECT pgbarrier.purge_batch('1 hour', 100, NULL)"} {
			buffers(t, conn, sql) // what is not cached yet
			pages := buffers(t, conn, sql)
			t.Logf("among %d, %s looks at %d pages", n, sql, pages)
			if n > 1000 && pages > before[sql]+50 { // all of them are on more than 400
				t.Errorf("%s looks at %d pages, and at %d when there were few", sql, pages, before[sql])
			}
			before[sql] = pages
		}
	}
}

func TestOneCallOfPurgeInSQLCatchesUp(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	insertBarriers(t, pool, 35_000)
	nextMillisecond(t, pool)
	if n := query[int](t, pool, "SELECT pgbarrier.purge('1 microsecond')"); n != 35_000 {
		t.Errorf("purged %d", n)
	}
	if n := countBarriers(t, pool); n != 0 {
		t.Errorf("%d are left", n)
	}
	wantExact(t, pool)
}

// A transaction that was open for long commits barriers that are older than all that has been purged.
func TestAStragglerIsPurgedNextTime(t *testing.T) {
	for name, purge := range map[string]func(t *testing.T, pool *pgxpool.Pool) int64{
		"Purge": func(t *testing.T, pool *pgxpool.Pool) int64 {
			n, err := pgbarrier.Purge(t.Context(), pool, time.Nanosecond)
			if err != nil {
				t.Fatal(err)
			}
			return n
		},
		"in SQL": func(t *testing.T, pool *pgxpool.Pool) int64 {
			return query[int64](t, pool, "SELECT pgbarrier.purge('1 microsecond')")
		},
		"in SQL, a batch": func(t *testing.T, pool *pgxpool.Pool) int64 {
			return query[int64](t, pool, "SELECT pgbarrier.purge('1 microsecond', 2)")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := migratedDatabase(t)
			straggler := begin(t, pool)
			token := create(t, straggler)
			committed(t, pool)
			nextMillisecond(t, pool)
			if n := purge(t, pool); n != 1 {
				t.Fatalf("purged %d", n)
			}
			want(t, pool, pgbarrier.Pending, token)
			commit(t, straggler)
			wantAsked(t, pool, nil, nil, token)
			if n := purge(t, pool); n != 1 {
				t.Errorf("the next time it purged %d", n)
			}
			wantAsked(t, pool, nil, pgbarrier.ErrExpired, token)
			wantExact(t, pool)
		})
	}
}

// Row by row, in one transaction: each is a statement that moves the horizon.
func TestDeletingRowByRowInOneTransactionIsLinear(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	var costs []int
	for _, n := range []int{250, 1000} {
		for range n {
			insertBarriers(t, pool, 1)
		}
		execute(t, pool, `CREATE OR REPLACE FUNCTION clean() RETURNS void LANGUAGE plpgsql AS $$
			DECLARE r record;
			BEGIN
				FOR r IN SELECT id FROM pgbarrier.barrier WHERE id >= '00000001-0000-0000-0000-000000000000' ORDER BY id LOOP
					DELETE FROM pgbarrier.barrier WHERE id = r.id;
				END LOOP;
			END $$`)
		costs = append(costs, buffers(t, pool, "SELECT clean()"))
		execute(t, pool, "VACUUM pgbarrier.barrier")
	}
	t.Logf("pages looked at for 250: %d, for 1,000: %d", costs[0], costs[1])
	if costs[1] > 8*costs[0] {
		t.Errorf("four times as many cost %d pages instead of %d", costs[1], costs[0])
	}
	wantExact(t, pool)
}

// A session may have planned its statements while the table was small, and statistics may say that it still is.
func TestPlansMadeForASmallTablePurgeALargeOneInLinearWork(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"purge":                  "SELECT pgbarrier.purge('1 microsecond')",
		"DELETE":                 "WITH gone AS (DELETE FROM pgbarrier.barrier WHERE id >= '00000001-0000-0000-0000-000000000000' RETURNING id) SELECT count(*) FROM gone",
		"purge, in many batches": "SELECT sum(n) FROM (SELECT pgbarrier.purge('1 microsecond', 100) AS n FROM generate_series(1, 20)) x",
	} {
		var costs []int
		for _, n := range []int{500, 2000} {
			pool := migratedDatabase(t)
			execute(t, pool, "ALTER TABLE pgbarrier.barrier SET (autovacuum_enabled = off)")
			execute(t, pool, "VACUUM ANALYZE pgbarrier.barrier")
			conn := connect(t, pool)
			for range 7 { // also the generic plan of what has one only after some custom plans
				insertBarriers(t, conn, 1)
				nextMillisecond(t, conn)
				buffers(t, conn, sql)
			}
			insertBarriers(t, conn, n)
			nextMillisecond(t, conn)
			costs = append(costs, buffers(t, conn, sql))
			if left := countBarriers(t, conn); left != 0 {
				t.Errorf("%s: %d are left", name, left)
			}
		}
		t.Logf("%s looks at %d pages for 500 and %d for 2,000", name, costs[0], costs[1])
		if costs[1] > 8*costs[0] {
			t.Errorf("%s: four times as many cost %d pages instead of %d", name, costs[1], costs[0])
		}
	}
}
