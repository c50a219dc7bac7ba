package integration_test

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	gomigrate "github.com/golang-migrate/migrate/v4"
	_ "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	tern "github.com/jackc/tern/v2/migrate"
	"github.com/pressly/goose/v3"
	sqlmigrate "github.com/rubenv/sql-migrate"

	"github.com/pgbarrier/pgbarrier"
)

// Every tool gets the file as it stands, as two migrations, so that it also runs on a database that
// has it.
var tools = map[string]func(t *testing.T, pool *pgxpool.Pool) error{
	"Migrate": func(t *testing.T, pool *pgxpool.Pool) error {
		if err := pgbarrier.Migrate(t.Context(), pool); err != nil {
			return err
		}
		return pgbarrier.Migrate(t.Context(), connect(t, pool))
	},
	"psql": func(t *testing.T, pool *pgxpool.Pool) error {
		needs(t, "psql", "postgresql-client")
		for range 2 {
			if err := psql(t, pool, "-f", schemaFile(t)); err != nil {
				return err
			}
		}
		return psql(t, pool, "--single-transaction", "-f", schemaFile(t))
	},
	"goose": func(t *testing.T, pool *pgxpool.Pool) error {
		provider, err := goose.NewProvider(goose.DialectPostgres, openSQL(t, pool), migrations("0000%d_pgbarrier.sql"))
		if err != nil {
			return err
		}
		_, err = provider.Up(t.Context())
		return err
	},
	"golang-migrate": func(t *testing.T, pool *pgxpool.Pool) error {
		source, err := iofs.New(migrations("%d_pgbarrier.up.sql"), ".")
		if err != nil {
			return err
		}
		url := strings.Replace(pool.Config().ConnString(), "postgres://", "pgx5://", 1)
		m, err := gomigrate.NewWithSourceInstance("iofs", source, url)
		if err != nil {
			return err
		}
		defer m.Close()
		return m.Up()
	},
	"tern": func(t *testing.T, pool *pgxpool.Pool) error {
		m, err := tern.NewMigrator(t.Context(), connect(t, pool), "public.schema_version")
		if err != nil {
			return err
		}
		if err := m.LoadMigrations(migrations("00%d_pgbarrier.sql")); err != nil {
			return err
		}
		return m.Migrate(t.Context())
	},
	"sql-migrate": func(t *testing.T, pool *pgxpool.Pool) error {
		var source sqlmigrate.MemoryMigrationSource
		for _, id := range []string{"1", "2"} {
			m, err := sqlmigrate.ParseMigration(id, strings.NewReader(pgbarrier.SQL))
			if err != nil {
				return err
			}
			source.Migrations = append(source.Migrations, m)
		}
		_, err := sqlmigrate.ExecContext(t.Context(), openSQL(t, pool), "postgres", source, sqlmigrate.Up)
		return err
	},
}

func TestTheSchemaFileRunsUnderEveryMigrationToolTwice(t *testing.T) {
	for name, run := range tools {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := emptyDatabase(t)
			if err := run(t, pool); err != nil {
				t.Fatal(err)
			}
			if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
				t.Fatal(err)
			}
			want(t, pool, pgbarrier.Committed, committed(t, pool))
			want(t, pool, pgbarrier.Aborted, aborted(t, pool))
		})
	}
}

// schemaFile is the file itself, which must be what the library embeds.
func schemaFile(t *testing.T) string {
	t.Helper()
	name, err := filepath.Abs("../sql/triggers.sql")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != pgbarrier.SQL {
		t.Fatalf("%s is not what the library embeds", name)
	}
	return name
}

// psql must be quiet: a script that warns at every run hides the warning that matters.
func psql(t *testing.T, pool *pgxpool.Pool, args ...string) error {
	t.Helper()
	args = append([]string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", pool.Config().ConnString()}, args...)
	out, err := exec.CommandContext(t.Context(), "psql", args...).CombinedOutput()
	if err != nil || len(out) > 0 {
		return fmt.Errorf("psql: %w, it said %q", err, out)
	}
	return nil
}

func migrations(name string) fstest.MapFS {
	file := &fstest.MapFile{Data: []byte(pgbarrier.SQL)}
	return fstest.MapFS{fmt.Sprintf(name, 1): file, fmt.Sprintf(name, 2): file}
}

func openSQL(t *testing.T, pool *pgxpool.Pool) *sql.DB {
	t.Helper()
	db := stdlib.OpenDB(*pool.Config().ConnConfig)
	t.Cleanup(func() { _ = db.Close() })
	return db
}
