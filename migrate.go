package pgbarrier

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"reflect"

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
func Migrate(ctx context.Context, db DB) error {
	if err := requireDB(db); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, SQL); err != nil {
		switch wire.SQLState(err) {
		case wire.ObjectNotInPrerequisite: // a newer version is installed
			return fmt.Errorf("pgbarrier: migrate: %w (%w)", ErrNotMigrated, err)
		case wire.InsufficientPrivilege:
			return fmt.Errorf("pgbarrier: migrate: the role must own schema pgbarrier or, where there is none yet, have CREATE on the database: %w", err)
		}
		return fmt.Errorf("pgbarrier: migrate: %w", err)
	}
	return nil
}

// CheckSchema returns nil if the schema is installed, complete, and of this library's version, and
// otherwise an [ErrNotMigrated] that says what is the matter. It needs EXECUTE on
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
				'announce()', 'check(pg_catalog.text[])', 'check(pg_catalog.uuid[],pg_catalog.xid8[])', 'create(boolean)', 'first_id(pg_catalog.timestamptz)',
				'letters(pg_catalog.text[],pg_catalog.uuid[],pg_catalog.text,pg_catalog.text)', 'lost()', 'mark(pg_catalog.xid8)', 'never_assigned(pg_catalog.xid8)', 'no_origin()', 'only_origin()',
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
