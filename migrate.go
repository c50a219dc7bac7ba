package pgbarrier

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SQL is sql/triggers.sql, the schema as one idempotent statement, for applications that hand it to
// a migration tool of their own.
//
//go:embed sql/triggers.sql
var SQL string

// schemaVersion is what this library works with. It rises when a function changes its meaning, not
// when one is added.
const schemaVersion = 1

// DB is what *pgxpool.Pool, *pgx.Conn and pgx.Tx have in common.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Migrate installs the schema, or brings it up to this version, in one transaction. It can run at
// every start, in several processes at once: where nothing is to be done no table is locked. The
// role must own the schema or, the first time, have CREATE on the database. A newer schema is left
// as it is: [ErrNotMigrated].
func Migrate(ctx context.Context, db DB) error {
	if err := requireDB(db); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, SQL); err != nil {
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && pgErr.Code == "55000" { // object_not_in_prerequisite_state: a newer version is installed
			return fmt.Errorf("pgbarrier: migrate: %w (%w)", ErrNotMigrated, err)
		}
		if pgErr != nil && pgErr.Code == "42501" { // insufficient_privilege
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
		return Explain(doing, err)
	}
	if err := requireVersion(version); err != nil {
		return err
	}
	// Without the trigger every wait would still end, but only by polling.
	var missing *string
	err := db.QueryRow(ctx, `
		SELECT string_agg(what, ', ') FROM (VALUES
			('function announce', to_regprocedure('pgbarrier.announce()') IS NOT NULL),
			('function check', to_regprocedure('pgbarrier.check(pg_catalog.text[])') IS NOT NULL),
			('function create', to_regprocedure('pgbarrier.create(boolean)') IS NOT NULL),
			('function first_id', to_regprocedure('pgbarrier.first_id(pg_catalog.timestamptz)') IS NOT NULL),
			('function never_assigned', to_regprocedure('pgbarrier.never_assigned(pg_catalog.xid8)') IS NOT NULL),
			('function new_id', to_regprocedure('pgbarrier.new_id()') IS NOT NULL),
			('function origin', to_regprocedure('pgbarrier.origin()') IS NOT NULL),
			('function purge', to_regprocedure('pgbarrier.purge(interval,integer)') IS NOT NULL),
			('function status', to_regprocedure('pgbarrier.status(pg_catalog.text)') IS NOT NULL),
			('function token', to_regprocedure('pgbarrier.token(pg_catalog.uuid,pg_catalog.xid8)') IS NOT NULL),
			('function truncated', to_regprocedure('pgbarrier.truncated()') IS NOT NULL),
			('function visible', to_regprocedure('pgbarrier.visible(pg_catalog.text[])') IS NOT NULL),
			('function watch', to_regprocedure('pgbarrier.watch(pg_catalog.text[],pg_catalog.xid8[],integer,integer)') IS NOT NULL),
			('table horizon', to_regclass('pgbarrier.horizon') IS NOT NULL),
			('table identity', to_regclass('pgbarrier.identity') IS NOT NULL),
			('table barrier', to_regclass('pgbarrier.barrier') IS NOT NULL),
			('trigger announce', EXISTS (SELECT FROM pg_catalog.pg_trigger
				WHERE tgrelid = to_regclass('pgbarrier.barrier') AND tgname = 'announce' AND tgenabled IN ('O', 'A'))),
			('trigger truncated', EXISTS (SELECT FROM pg_catalog.pg_trigger
				WHERE tgrelid = to_regclass('pgbarrier.barrier') AND tgname = 'truncated'))
		) AS part(what, there) WHERE NOT there`).Scan(&missing)
	if err != nil {
		return Explain(doing, err)
	}
	if missing != nil {
		return fmt.Errorf("pgbarrier: %s: %w: it lacks %s", doing, ErrNotMigrated, *missing)
	}
	return nil
}

func requireVersion(version int) error {
	switch {
	case version > schemaVersion:
		return fmt.Errorf("pgbarrier: %w: the database has version %d, this library works with version %d: upgrade the library", ErrNotMigrated, version, schemaVersion)
	case version < schemaVersion:
		return fmt.Errorf("pgbarrier: %w: the database has version %d, this library works with version %d", ErrNotMigrated, version, schemaVersion)
	}
	return nil
}

func requireDB(db DB) error {
	if v := reflect.ValueOf(db); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("pgbarrier: the database handle is nil: pass a *pgxpool.Pool, *pgx.Conn or pgx.Tx")
	}
	return nil
}
