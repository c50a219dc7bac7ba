package pgbarrier

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// SQL is sql/triggers.sql, the schema as one idempotent statement, for applications that hand it to
// a migration tool of their own.
//
//go:embed sql/triggers.sql
var SQL string

// DB is what *pgxpool.Pool, *pgx.Conn and pgx.Tx have in common.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Migrate installs the schema, or brings it up to this version, in one transaction. It can run at
// every start, in several processes at once. Where nothing is to be done it writes nothing and locks
// nothing, and any role may call it, also in a read-only session; otherwise the role must own the schema or,
// the first time, have CREATE on the database. A newer schema is left as it is: [ErrNotMigrated].
//
// Most changes lock no table. One that does, for example a trigger that has to be replaced, waits for open
// transactions of producers, and producers that come later wait for it. So it waits for a moment only, gives way,
// and tries again, more and more rarely. After some 25 s it changes nothing and returns an error that names
// who uses the tables; its SQLSTATE is 55P03, lock_not_available. [Plan] says beforehand what there is to do.
func Migrate(ctx context.Context, db DB) error {
	if err := requireDB(db); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, SQL); err != nil {
		return migrateError("migrate", err)
	}
	return nil
}

func migrateError(doing string, err error) error {
	switch wire.SQLState(err) {
	case wire.ObjectNotInPrerequisite: // a newer version is installed
		return fmt.Errorf("pgbarrier: %s: %w (%w)", doing, ErrNotMigrated, err)
	case wire.InsufficientPrivilege:
		return fmt.Errorf("pgbarrier: %s: the role must own schema pgbarrier or, where there is none yet, have CREATE on the database: %w", doing, err)
	}
	return fmt.Errorf("pgbarrier: %s: %w", doing, err)
}

// Plan returns what [Migrate] would do, a line each, or nothing if there is nothing to be done. It writes nothing:
// given a pool or a connection it asks in a read-only transaction. Its errors are those of Migrate.
func Plan(ctx context.Context, db DB) ([]string, error) {
	if err := requireDB(db); err != nil {
		return nil, err
	}
	var plan string
	err := wire.InOneTransaction(ctx, db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(db DB) error {
		const mode = "SELECT pg_catalog.set_config('pgbarrier.migrate', $1, true)"
		if _, err := db.Exec(ctx, mode, "plan"); err != nil {
			return err
		}
		if _, err := db.Exec(ctx, SQL); err != nil {
			return err
		}
		if err := db.QueryRow(ctx, "SELECT pg_catalog.current_setting('pgbarrier.migrate')").Scan(&plan); err != nil {
			return err
		}
		_, err := db.Exec(ctx, mode, "") // of the caller's transaction, which may migrate next
		return err
	})
	if err != nil {
		return nil, migrateError("plan the migration", err)
	}
	if plan == "plan" {
		return nil, nil
	}
	return strings.Split(plan, "\n"), nil
}

// CheckSchema returns nil if the schema is installed, complete, and of this library's version, and
// otherwise an [ErrNotMigrated] that says what is the matter. It changes nothing. It needs EXECUTE on
// pgbarrier.version().
func CheckSchema(ctx context.Context, db DB) error {
	if err := requireDB(db); err != nil {
		return err
	}
	const doing = "look at the schema"
	var version int
	if err := db.QueryRow(ctx, "SELECT pgbarrier.version()").Scan(&version); err != nil {
		return wire.Explain(doing, err)
	}
	if err := wire.RequireVersion(version); err != nil {
		return err
	}
	// Without announce every wait would still end, but only by checks. The others may be in any mode, after a
	// pg_restore --disable-triggers for example: the schema knows, and calls nothing aborted that may not be.
	var missing *string
	err := db.QueryRow(ctx, `
		SELECT string_agg(what, ', ') FROM (
			SELECT concat('function ', replace(f, 'pg_catalog.', '')), to_regprocedure(concat('pgbarrier.', f)) IS NOT NULL FROM unnest(ARRAY[
				'announce()', 'check(pg_catalog.text[])', 'check(pg_catalog.uuid[],pg_catalog.xid8[])', 'create(boolean)', 'explain(pg_catalog.text)', 'first_id(pg_catalog.timestamptz)',
				'letters(pg_catalog.text[],pg_catalog.uuid[],pg_catalog.text,pg_catalog.text)', 'lost()', 'mark(pg_catalog.xid8)', 'never_assigned(pg_catalog.xid8)', 'no_origin()', 'only_origin()', 'proof(pg_catalog.text)',
				'purge(interval,integer)', 'purge_batch(interval,integer,pg_catalog.uuid)', 'seed(pg_catalog.uuid)', 'split(pg_catalog.text[])', 'status(pg_catalog.text)',
				'unusual(pg_catalog.text)', 'visible(pg_catalog.text[])', 'visible(pg_catalog.uuid[],pg_catalog.xid8[])', 'wait(pg_catalog.text,interval)']) AS f
			UNION ALL
			SELECT concat('relation ', r), to_regclass(concat('pgbarrier.', r)) IS NOT NULL
			FROM unnest(ARRAY['armed', 'barrier', 'here', 'horizon', 'origin']) AS r
			UNION ALL
			SELECT format('trigger %s of %s', name, relation), EXISTS (
				SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = to_regclass(concat('pgbarrier.', relation))
					AND tgname = name AND strpos(enabled, tgenabled::text) > 0)
			FROM (VALUES ('barrier', 'announce', 'OA'), ('barrier', 'lost_id', 'OARD'), ('barrier', 'lost_row', 'OARD'),
				('barrier', 'lost_rows', 'OARD'), ('barrier', 'lost_table', 'OARD'), ('origin', 'lost_rows', 'OARD'),
				('origin', 'lost_table', 'OARD'), ('origin', 'only_origin', 'OARD')) AS t (relation, name, enabled)
		) AS part(what, there) WHERE NOT there`).Scan(&missing)
	if err != nil {
		return wire.Explain(doing, err)
	}
	if missing != nil {
		return fmt.Errorf("pgbarrier: %s: %w: it lacks %s", doing, ErrNotMigrated, *missing)
	}
	return nil
}

func requireDB(db DB) error {
	if v := reflect.ValueOf(db); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("pgbarrier: the database handle is nil: pass a *pgxpool.Pool, *pgx.Conn or pgx.Tx")
	}
	return nil
}
