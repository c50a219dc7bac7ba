package integration_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// wrongTriggers has to be repaired under locks of both tables.
const wrongTriggers = `DROP TRIGGER lost_rows ON pgbarrier.barrier; DROP TRIGGER lost_rows ON pgbarrier.origin; DROP TRIGGER announce ON pgbarrier.barrier`

// Their triggers are replaced while they produce, check and purge, with sessions that look for deadlocks all the time.
func TestAMigrationThatReplacesTriggersFailsNoProducer(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	impatient := open(t, withSetting(t, pool.Config().ConnString(), "deadlock_timeout", "200ms"))
	stop := make(chan struct{})
	var load sync.WaitGroup
	var created atomic.Int64
	for range 4 {
		load.Go(func() {
			for !stopped(stop) {
				var token pgbarrier.Token
				err := pgx.BeginFunc(t.Context(), impatient, func(tx pgx.Tx) (err error) {
					for range 2 { // the second while locks of the first are held
						token = create(t, tx)
						if _, err = pgbarrier.Check(t.Context(), tx, token); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Errorf("a producer failed: %v", err)
					return
				}
				want(t, impatient, pgbarrier.Committed, token)
				created.Add(1)
			}
		})
	}
	load.Go(func() {
		for !stopped(stop) {
			if _, err := pgbarrier.Purge(t.Context(), impatient, time.Hour); err != nil {
				t.Errorf("a purge failed: %v", err)
				return
			}
		}
	})
	for range 3 {
		before := created.Load()
		eventually(t, "there is load", func() bool { return created.Load() > before+50 || t.Failed() })
		// Not execute: this very statement may have to be tried again.
		eventually(t, "triggers are wrong", func() bool {
			_, err := pool.Exec(t.Context(), "SET LOCAL lock_timeout = '100ms'; "+wrongTriggers)
			return err == nil || t.Failed()
		})
		eventually(t, "the schema is migrated", func() bool {
			err := pgbarrier.Migrate(t.Context(), pool)
			if err != nil && wire.SQLState(err) != wire.LockNotAvailable { // on a machine this full
				t.Fatal(err)
			}
			return err == nil
		})
	}
	close(stop)
	load.Wait()
	if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
		t.Error(err)
	}
}

func TestAMigrationThatALongTransactionIsInTheWayOfGivesUpAndNamesIt(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, wrongTriggers)
	long := connect(t, open(t, pool.Config().ConnString(), named("nightly report")))
	token := create(t, begin(t, long))
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for !stopped(stop) { // whoever comes later goes on
			committed(t, pool)
		}
	})
	state := func() string {
		return query[string](t, pool, `SELECT concat(obj_description('pgbarrier'::regnamespace, 'pg_namespace'),
			(SELECT string_agg(concat(oid, xmin), ' ' ORDER BY oid) FROM pg_proc WHERE pronamespace = 'pgbarrier'::regnamespace))`)
	}
	before := state()

	var said []string
	hasty := connect(t, open(t, withSetting(t, pool.Config().ConnString(), "lock_timeout", "5ms"), func(c *pgxpool.Config) {
		c.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { said = append(said, n.Message) }
	}))
	err := pgbarrier.Migrate(t.Context(), hasty)
	close(stop)
	load.Wait()
	if wire.SQLState(err) != wire.LockNotAvailable || !strings.Contains(err.Error(), fmt.Sprintf(`pid %d, application "nightly report", idle in transaction`, long.PgConn().PID())) {
		t.Errorf("it ended with %v", err)
	}
	if len(said) == 0 || !strings.Contains(said[0], "nightly report") {
		t.Errorf("while it waited it said %q", said)
	}
	if timeout := query[string](t, hasty, "SHOW lock_timeout"); timeout != "5ms" {
		t.Errorf("lock_timeout is %s afterwards", timeout)
	}
	if after := state(); after != before {
		t.Errorf("it was %s and is %s", before, after)
	}
	want(t, pool, pgbarrier.Pending, token)
	execute(t, long, "COMMIT")
	migrate(t, pool)
	want(t, pool, pgbarrier.Committed, token)
}

func TestAMigrationThatTheLockOfMigratingIsHeldFromNamesTheHolder(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	holder := connect(t, pool)
	execute(t, holder, "SELECT pg_advisory_lock("+migrating+")")
	execute(t, pool, "COMMENT ON SCHEMA pgbarrier IS NULL")
	err := pgbarrier.Migrate(t.Context(), open(t, withSetting(t, pool.Config().ConnString(), "lock_timeout", "20ms")))
	if wire.SQLState(err) != wire.LockNotAvailable || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", holder.PgConn().PID())) {
		t.Errorf("it ended with %v", err)
	}
	execute(t, holder, "SELECT pg_advisory_unlock_all()")
	migrate(t, pool)
}

// Given up in the middle, by Ctrl-C or a deadline, it has done nothing and leaves no session that goes on.
func TestAMigrationThatIsInterruptedChangesNothing(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, wrongTriggers)
	producer := begin(t, pool)
	create(t, producer)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waiting := open(t, pool.Config().ConnString(), named("interrupted"), func(c *pgxpool.Config) {
		c.ConnConfig.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) { cancel() }
	})
	wantErr(t, "Migrate", pgbarrier.Migrate(ctx, waiting), context.Canceled)
	eventually(t, "its session has ended", func() bool {
		return query[bool](t, pool, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'interrupted')")
	})
	wantErr(t, "CheckSchema", pgbarrier.CheckSchema(t.Context(), pool), pgbarrier.ErrNotMigrated)
	commit(t, producer)
	migrate(t, pool)
	want(t, pool, pgbarrier.Committed, committed(t, pool))
}

func planned(t testing.TB, db pgbarrier.DB) string {
	t.Helper()
	plan, err := pgbarrier.Plan(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(plan, "\n")
}

func TestAPlanSaysWhatMigratingWouldDoAndDoesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pool   func(t *testing.T) *pgxpool.Pool
		change string
		says   []string
		locks  bool
	}{
		"no schema":  {func(t *testing.T) *pgxpool.Pool { return emptyDatabase(t) }, "", []string{"create schema pgbarrier, version 2"}, false},
		"version 1":  {version1, "", []string{"replace the tables of version 1", "by those of revision"}, true},
		"a trigger":  {nil, wrongTriggers, []string{"create trigger announce of table pgbarrier.barrier", "create trigger lost_rows of table pgbarrier.origin", "repair what was changed"}, true},
		"disabled":   {nil, "ALTER TABLE pgbarrier.barrier DISABLE TRIGGER lost_row", []string{"replace trigger lost_row of table pgbarrier.barrier"}, true},
		"a function": {nil, "DROP FUNCTION pgbarrier.status(text)", []string{"replace the functions", "repair what was changed", "lock no table"}, false},
		"revision":   {nil, "COMMENT ON SCHEMA pgbarrier IS 'pgbarrier schema 2, revision 0123456789ab, state x'", []string{"there is revision 0123456789ab", "lock no table"}, false},
		"a table":    {nil, "DROP TABLE pgbarrier.origin CASCADE", []string{"create relation pgbarrier.origin", "create relation pgbarrier.here"}, true},
		"no mark":    {nil, "ALTER TABLE pgbarrier.barrier DISABLE TRIGGER ALL; DELETE FROM pgbarrier.barrier; ALTER TABLE pgbarrier.barrier ENABLE TRIGGER ALL; ALTER TABLE pgbarrier.barrier ENABLE ALWAYS TRIGGER lost_table; ALTER TABLE pgbarrier.barrier ENABLE ALWAYS TRIGGER lost_id; ALTER TABLE pgbarrier.barrier ENABLE REPLICA TRIGGER lost_row", []string{"make a mark"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := emptyDatabase(t)
			if test.pool != nil {
				pool = test.pool(t)
			} else {
				migrate(t, pool)
			}
			execute(t, pool, "SET client_min_messages = warning; "+test.change)
			execute(t, pool, frozen)
			readOnly := open(t, withSetting(t, pool.Config().ConnString(), "default_transaction_read_only", "on"))
			plan := planned(t, readOnly)
			for _, words := range test.says {
				if !strings.Contains(plan, words) {
					t.Errorf("nothing says %q:\n%s", words, plan)
				}
			}
			if strings.Contains(plan, "lock the tables") != test.locks {
				t.Errorf("what it says of locks is wrong:\n%s", plan)
			}
			if again := planned(t, connect(t, readOnly)); again != plan {
				t.Errorf("the plan was\n%s\nand is\n%s", plan, again)
			}
			if err := pgbarrier.Migrate(t.Context(), pool); err == nil && name != "no mark" {
				t.Error("there was something to do, and it was done though DDL is forbidden")
			}

			execute(t, pool, "ALTER EVENT TRIGGER frozen DISABLE")
			tx := begin(t, pool)
			if again := planned(t, tx); again != plan && name != "no mark" {
				t.Errorf("in a transaction the plan is\n%s", again)
			}
			migrate(t, tx) // the same transaction
			commit(t, tx)
			if plan := planned(t, pool); plan != "" {
				t.Errorf("once it is done the plan is\n%s", plan)
			}
			want(t, pool, pgbarrier.Committed, committed(t, pool))
		})
	}
}

func TestAPlanNamesWhoUsesTheTables(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, wrongTriggers)
	producer := connect(t, open(t, pool.Config().ConnString(), named("orders")))
	create(t, begin(t, producer))
	if plan := planned(t, pool); !strings.Contains(plan, fmt.Sprintf(`pid %d, application "orders"`, producer.PgConn().PID())) {
		t.Errorf("the plan is\n%s", plan)
	}
}

func TestAPlanHasTheErrorsOfMigrating(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	nobody := as(t, pool, newRole(t, pool))
	if plan := planned(t, nobody); plan != "" {
		t.Errorf("there is nothing to do, and the plan is %s", plan)
	}
	execute(t, pool, "COMMENT ON SCHEMA pgbarrier IS NULL")
	_, err := pgbarrier.Plan(t.Context(), nobody)
	wantDenied(t, "Plan", err)
	execute(t, pool, "CREATE OR REPLACE FUNCTION pgbarrier.version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 3'")
	_, err = pgbarrier.Plan(t.Context(), pool)
	wantErr(t, "Plan", err, pgbarrier.ErrNotMigrated)
	empty := emptyDatabase(t)
	_, err = pgbarrier.Plan(t.Context(), as(t, empty, newRole(t, empty)))
	wantDenied(t, "Plan", err)
}

// Whoever starts with CheckSchema runs no DDL, whatever is there.
func TestCheckingTheSchemaChangesNothing(t *testing.T) {
	t.Parallel()
	empty, wrong, fine := emptyDatabase(t), migratedDatabase(t), migratedDatabase(t)
	execute(t, wrong, wrongTriggers)
	for _, pool := range []*pgxpool.Pool{empty, wrong, fine} {
		execute(t, pool, frozen)
		readOnly := open(t, withSetting(t, pool.Config().ConnString(), "default_transaction_read_only", "on"))
		if err := pgbarrier.CheckSchema(t.Context(), readOnly); errors.Is(err, pgbarrier.ErrNotMigrated) == (pool == fine) {
			t.Errorf("CheckSchema: %v", err)
		}
	}
}

func TestPurgingBatchByBatchGoesOnWhereItWasLeft(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "INSERT INTO pgbarrier.barrier SELECT FROM generate_series(1, 25000)")
	nextMillisecond(t, pool)
	var sizes []int64
	for batch, err := range pgbarrier.PurgeBatches(t.Context(), pool, time.Nanosecond) {
		if err != nil || time.Since(batch.Through) > time.Hour || batch.Through.After(time.Now().Add(time.Hour)) {
			t.Fatalf("%+v, %v", batch, err)
		}
		sizes = append(sizes, batch.Purged)
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for batch, err := range pgbarrier.PurgeBatches(ctx, pool, time.Nanosecond) {
		if last = err; err == nil {
			sizes = append(sizes, batch.Purged)
		}
		cancel()
	}
	wantErr(t, "an interrupted purge", last, context.Canceled)
	n, err := pgbarrier.Purge(t.Context(), pool, time.Nanosecond)
	if sizes = append(sizes, n); err != nil || !slices.Equal(sizes, []int64{10_000, 10_000, 5_000}) {
		t.Errorf("the batches had %v barriers (%v)", sizes, err)
	}
	for batch, err := range pgbarrier.PurgeBatches(t.Context(), pool, 0) {
		if err == nil {
			t.Errorf("a retention of nothing purged %+v", batch)
		}
	}
}
