package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// The names by which connections are told apart in pg_stat_activity.
const (
	producerApplication = "pgbarrier demo: producer"
	workerApplication   = "pgbarrier demo: worker"
	listenerApplication = "pgbarrier demo: listener"
)

const cleanupTimeout = 10 * time.Second

//go:embed schema.sql
var schemaSQL string

// A base is the database that the demonstration runs in.
type base struct {
	url         string
	description string
	pool        *pgxpool.Pool // the worker's; also asks all the questions
	server      *devpg.Server // nil if the database was named

	// In a database that was named: the session that holds the demonstration's lock, what of it
	// there is to be removed.
	lock                         *pgx.Conn
	madeSchema, installedBarrier bool
}

// demoLock is an advisory lock: one demonstration runs in a database at a time.
const demoLock = 7018962344107663499

// openBase connects to the database, or starts a server if none is named.
func openBase(ctx context.Context, databaseURL string, progress *progress) (b *base, err error) {
	b = &base{url: databaseURL}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if databaseURL == "" {
		progress.say("starting a throwaway PostgreSQL server")
		if b.server, err = devpg.Start(ctx, devpg.Config{}); err != nil {
			return b, err
		}
		b.url = b.server.URL()
	}
	if b.pool, err = connect(ctx, b.url, workerApplication, workerConnections); err != nil {
		return b, fmt.Errorf("connect to the database: %w", err)
	}
	var version string
	if err := b.pool.QueryRow(ctx, "SHOW server_version").Scan(&version); err != nil {
		return b, err
	}
	b.description = "PostgreSQL " + version + ", "
	if b.server != nil {
		b.description += "throwaway (" + b.server.Source() + ")"
	} else {
		b.description += "database " + b.pool.Config().ConnConfig.Database
	}
	return b, nil
}

// prepare makes the schemas and the load.
func (b *base) prepare(ctx context.Context, requests int) error {
	if b.server == nil {
		if err := b.occupy(ctx); err != nil {
			return err
		}
	}
	var installed bool
	if err := b.pool.QueryRow(ctx, "SELECT to_regnamespace('pgbarrier') IS NOT NULL").Scan(&installed); err != nil {
		return err
	}
	b.installedBarrier = !installed
	if err := pgbarrier.Migrate(ctx, b.pool); err != nil {
		return err
	}
	b.madeSchema = true
	return pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, schemaSQL); err != nil {
			return fmt.Errorf("make schema pgbarrier_demo: %w", err)
		}
		// The same load at every demonstration. One order in ten is declined. Nearly half the time
		// there is something else to do between the two steps, for up to 16 ms.
		_, err := tx.Exec(ctx, "SELECT setseed(0.5)")
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO requests
			SELECT id, random() < 0.1, CASE WHEN random() < 0.4 THEN random() * 16 ELSE 0 END
			FROM generate_series(1, $1) AS id`, requests)
		return err
	})
}

// occupy makes sure that no other demonstration runs in a database that is not ours, and removes
// what one that was killed has left.
func (b *base) occupy(ctx context.Context) error {
	lock, err := pgx.ConnectConfig(ctx, b.pool.Config().ConnConfig.Copy())
	if err != nil {
		return err
	}
	b.lock = lock
	var free bool
	if err := lock.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", int64(demoLock)).Scan(&free); err != nil {
		return err
	}
	if !free {
		return errors.New("another pgbarrier demo is running in this database: wait until it has ended")
	}
	var exists, ours bool
	err = lock.QueryRow(ctx, `
		SELECT n.oid IS NOT NULL, coalesce(obj_description(n.oid, 'pg_namespace') LIKE 'pgbarrier demo:%', false)
		FROM to_regnamespace('pgbarrier_demo') AS n(oid)`).Scan(&exists, &ours)
	switch {
	case err != nil:
		return err
	case exists && !ours:
		return errors.New("the database has a schema pgbarrier_demo that is not the demo's: name another database")
	case exists:
		_, err = lock.Exec(ctx, "DROP SCHEMA pgbarrier_demo CASCADE")
	}
	return err
}

// requests returns the load.
func (b *base) requests(ctx context.Context) ([]request, error) {
	rows, err := b.pool.Query(ctx, "SELECT id, declined, pause FROM pgbarrier_demo.requests ORDER BY id")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[request])
}

// close removes everything. It has a deadline of its own, because it also runs after an interrupt.
func (b *base) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	var errs []error
	if b.server == nil && b.madeSchema {
		errs = append(errs, b.clear(ctx))
	}
	if b.lock != nil {
		_ = b.lock.Close(ctx) // the lock goes with it in any case
	}
	if b.pool != nil {
		b.pool.Close()
	}
	if b.server != nil {
		errs = append(errs, b.server.Close())
	}
	return errors.Join(errs...)
}

// clear leaves the database as it was. The schema pgbarrier goes only if the demonstration installed
// it, and if nobody has begun to use it meanwhile.
func (b *base) clear(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, b.lock, func(tx pgx.Tx) error {
		if b.installedBarrier {
			var used bool
			if _, err := tx.Exec(ctx, "LOCK TABLE pgbarrier.barrier IN ACCESS EXCLUSIVE MODE"); err != nil {
				return err
			}
			err := tx.QueryRow(ctx, `
				SELECT EXISTS (SELECT FROM pgbarrier.barrier b -- a mark is no barrier
				WHERE b.id >= '00000001-0000-0000-0000-000000000000' AND NOT EXISTS (SELECT FROM pgbarrier_demo.orders o WHERE o.barrier = b.id))`).Scan(&used)
			if err != nil {
				return err
			}
			if !used {
				if _, err := tx.Exec(ctx, "DROP SCHEMA pgbarrier CASCADE"); err != nil {
					return err
				}
			}
		}
		_, err := tx.Exec(ctx, "DROP SCHEMA IF EXISTS pgbarrier_demo CASCADE")
		return err
	})
	if err != nil {
		return fmt.Errorf("remove the schema pgbarrier_demo: %w", err)
	}
	return nil
}
