package integration_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

func TestProcessesThatMigrateAtOnceAllSucceed(t *testing.T) {
	t.Parallel()
	needs(t, "psql", "postgresql-client")
	pool := emptyDatabase(t)
	const processes = 12
	conns := make([]*pgx.Conn, processes)
	for i := range conns {
		conns[i] = connect(t, pool)
	}
	errs := make(chan error)
	for i, conn := range conns {
		go func() {
			if i%4 == 0 {
				errs <- psql(t, pool, "-f", "../sql/triggers.sql")
				return
			}
			errs <- pgbarrier.Migrate(t.Context(), conn)
		}()
	}
	for range processes {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	want(t, pool, pgbarrier.Committed, committed(t, pool))
}

// A migration at every start of every process must not wait for producers, nor they for it.
func TestMigratingAgainLocksNoTable(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	producer := begin(t, pool)
	token := create(t, producer)
	execute(t, producer, "LOCK TABLE pgbarrier.barrier, pgbarrier.origin IN ROW EXCLUSIVE MODE")

	tx := begin(t, pool)
	execute(t, tx, "SET LOCAL lock_timeout = '5s'")
	migrate(t, tx)
	if locks := query[*string](t, tx, `
		SELECT string_agg(c.relname || ' ' || l.mode, ', ') FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
		WHERE l.pid = pg_backend_pid() AND c.relnamespace = 'pgbarrier'::regnamespace AND l.mode <> 'AccessShareLock'`); locks != nil {
		t.Errorf("migrating again locked %s", *locks)
	}
	// Producers and workers go on while the migration's transaction is open.
	execute(t, producer, "SET LOCAL lock_timeout = '5s'")
	create(t, producer)
	commit(t, producer)
	want(t, pool, pgbarrier.Committed, token)
	commit(t, tx)
}

func TestMigratingSaysNothing(t *testing.T) {
	t.Parallel()
	empty := emptyDatabase(t)
	var said []string
	pool := open(t, empty.Config().ConnString(), func(c *pgxpool.Config) {
		c.MaxConns = 1
		c.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { said = append(said, n.Message) }
	})
	migrate(t, pool)
	migrate(t, pool)
	committed(t, pool)
	if len(said) > 0 {
		t.Errorf("it said %q", said)
	}
}

func TestMigratingLeavesNothingBehindWhenItFails(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	role := newRole(t, pool)
	err := pgbarrier.Migrate(t.Context(), as(t, pool, role))
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
		t.Errorf("a role that may not create a schema got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "Migrate", pgbarrier.Migrate(ctx, pool), context.Canceled)
	if n := query[int](t, pool, "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgbarrier'"); n != 0 {
		t.Error("the schema is there")
	}
}
