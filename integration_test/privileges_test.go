package integration_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// newRole makes a role without any right. Roles belong to the server, so its name is unique.
func newRole(t testing.TB, pool *pgxpool.Pool) string {
	t.Helper()
	role := "role_" + strings.ToLower(rand.Text())
	execute(t, pool, "CREATE ROLE "+role+" LOGIN")
	url := pool.Config().ConnString()
	t.Cleanup(func() {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	return role
}

// as is a pool of the same database, logged in as role.
func as(t testing.TB, pool *pgxpool.Pool, role string) *pgxpool.Pool {
	t.Helper()
	return open(t, pool.Config().ConnString(), func(c *pgxpool.Config) {
		c.ConnConfig.User, c.ConnConfig.Password = role, ""
	})
}

// grant gives role what the head of the schema file says that who ("producer", "worker", "whoever
// purges", …) needs, and nothing else.
func grant(t testing.TB, pool *pgxpool.Pool, who, role string) {
	t.Helper()
	head, _, _ := strings.Cut(pgbarrier.SQL, "DO $pgbarrier$")
	given := 0
	for _, line := range regexp.MustCompile(`(?m)^--   (GRANT .*) TO (.*);$`).FindAllStringSubmatch(head, -1) {
		for recipient := range strings.SplitSeq(line[2], ", ") {
			if recipient == who || strings.HasPrefix(line[1], "GRANT USAGE") && recipient == "worker" {
				execute(t, pool, line[1]+" TO "+role)
				given++
				break
			}
		}
	}
	if given != 2 {
		t.Fatalf("the file's head has %d grants for %s, want the schema and its functions", given, who)
	}
}

// Whoever may not migrate is told what it takes, with the schema there and without.
func TestARoleThatMayNotMigrateIsToldWhatItTakes(t *testing.T) {
	t.Parallel()
	older := migratedDatabase(t)
	execute(t, older, "COMMENT ON SCHEMA pgbarrier IS NULL")
	for _, pool := range []*pgxpool.Pool{emptyDatabase(t), older} {
		err := pgbarrier.Migrate(t.Context(), as(t, pool, newRole(t, pool)))
		wantDenied(t, "to migrate", err)
		if err != nil && !strings.Contains(err.Error(), "must own schema pgbarrier") {
			t.Errorf("%q does not say what it takes", err)
		}
	}
}

func wantDenied(t testing.TB, what string, err error) {
	t.Helper()
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
		t.Errorf("%s: %v, want permission denied", what, err)
	}
}

// jobs are all that pgbarrier can be asked for. Whatever a role is not granted is denied.
var jobs = map[string]func(ctx context.Context, db *pgxpool.Pool, token pgbarrier.Token) error{
	"create": func(ctx context.Context, db *pgxpool.Pool, _ pgbarrier.Token) error {
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			_, err := notify.Create(ctx, tx)
			return err
		})
	},
	"check": func(ctx context.Context, db *pgxpool.Pool, token pgbarrier.Token) error {
		_, err := pgbarrier.Check(ctx, db, token)
		return err
	},
	"look at the schema": func(ctx context.Context, db *pgxpool.Pool, _ pgbarrier.Token) error {
		return pgbarrier.CheckSchema(ctx, db)
	},
	"purge": func(ctx context.Context, db *pgxpool.Pool, _ pgbarrier.Token) error {
		_, err := pgbarrier.Purge(ctx, db, time.Hour)
		return err
	},
	"await a replica": func(ctx context.Context, db *pgxpool.Pool, token pgbarrier.Token) error {
		return pgbarrier.AwaitReplica(ctx, db, token)
	},
	"explain": func(ctx context.Context, db *pgxpool.Pool, token pgbarrier.Token) error {
		_, err := pgbarrier.Explain(ctx, db, token.String())
		return err
	},
	"status": func(ctx context.Context, db *pgxpool.Pool, token pgbarrier.Token) error {
		_, err := db.Exec(ctx, "SELECT pgbarrier.status($1)", token)
		return err
	},
	"status when it has ended": func(ctx context.Context, db *pgxpool.Pool, token pgbarrier.Token) error {
		_, err := db.Exec(ctx, waitInSQL, token)
		return err
	},
}

var forbidden = []string{
	"SELECT id FROM pgbarrier.barrier",
	"SELECT count(*) FROM pgbarrier.barrier",
	"INSERT INTO pgbarrier.barrier VALUES (gen_random_uuid(), '1')",
	"UPDATE pgbarrier.barrier SET xid = '1'",
	"DELETE FROM pgbarrier.barrier",
	"TRUNCATE pgbarrier.barrier",
	"ALTER TABLE pgbarrier.barrier DISABLE TRIGGER announce",
	"SELECT seed FROM pgbarrier.origin",
	"UPDATE pgbarrier.origin SET base = 0",
	"DELETE FROM pgbarrier.origin",
	"TRUNCATE pgbarrier.origin",
	"SELECT through FROM pgbarrier.horizon",
	"COPY pgbarrier.barrier TO STDOUT",
	"SELECT origin FROM pgbarrier.here",
	"SELECT pgbarrier.mark()",
	"SELECT pgbarrier.seed(gen_random_uuid())",
	"SELECT pgbarrier.no_origin()",
	"SELECT pgbarrier.unusual('')",
	"SELECT pgbarrier.never_assigned('3')",
	"CREATE TABLE pgbarrier.mine ()",
	"CREATE FUNCTION pgbarrier.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
	"CREATE OR REPLACE FUNCTION pgbarrier.version() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
	"DROP SCHEMA pgbarrier CASCADE",
}

func TestARoleCanDoItsJobAndNothingElse(t *testing.T) {
	for who, can := range map[string][]string{
		"producer":                     {"create"},
		"worker":                       {"check", "watch", "look at the schema"},
		"whoever purges":               {"purge"},
		"whoever asks why":             {"explain"},
		"whoever asks from SQL":        {"status", "status when it has ended"},
		"whoever reads from a standby": {"await a replica"},
		"nobody":                       nil,
	} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			pool := migratedDatabase(t)
			token := committed(t, pool)
			role := newRole(t, pool)
			if who != "nobody" {
				grant(t, pool, who, role)
			}
			db := as(t, pool, role)
			for name, job := range jobs {
				err := job(t.Context(), db, token)
				if strings.Contains(fmt.Sprint(can), name) {
					if err != nil {
						t.Errorf("cannot %s: %v", name, err)
					}
					continue
				}
				wantDenied(t, name, err)
				if !strings.HasPrefix(name, "status") && !strings.Contains(err.Error(), "lacks a grant") {
					t.Errorf("%s: %q does not say that a grant is missing", name, err)
				}
			}
			for _, sql := range forbidden {
				_, err := db.Exec(t.Context(), sql)
				wantDenied(t, sql, err)
			}
			want(t, pool, pgbarrier.Committed, token)
		})
	}
}

// With what worker is granted a wait goes through all its outcomes.
func TestAWorkerRoleCanWait(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	role := newRole(t, pool)
	grant(t, pool, "worker", role)
	worker := as(t, pool, role)
	if err := pgbarrier.Poll(t.Context(), worker, committed(t, pool)); err != nil {
		t.Error(err)
	}
	wantErr(t, "Poll", pgbarrier.Poll(t.Context(), worker, aborted(t, pool)), pgbarrier.ErrAborted)
}
