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
	"status": func(ctx context.Context, db *pgxpool.Pool, token pgbarrier.Token) error {
		_, err := db.Exec(ctx, "SELECT pgbarrier.status($1)", token)
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
	"SELECT seed FROM pgbarrier.identity",
	"UPDATE pgbarrier.identity SET seed = 0",
	"UPDATE pgbarrier.horizon SET purged_through = gen_random_uuid()",
	"DELETE FROM pgbarrier.horizon",
	"COPY pgbarrier.barrier TO STDOUT",
	"SELECT pgbarrier.origin()",
	"SELECT pgbarrier.new_id()",
	"SELECT pgbarrier.never_assigned('3')",
	"CREATE TABLE pgbarrier.mine ()",
	"CREATE FUNCTION pgbarrier.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
	"CREATE OR REPLACE FUNCTION pgbarrier.version() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
	"DROP SCHEMA pgbarrier CASCADE",
}

func TestARoleCanDoItsJobAndNothingElse(t *testing.T) {
	for who, can := range map[string][]string{
		"producer":              {"create"},
		"worker":                {"check", "look at the schema"},
		"whoever purges":        {"purge"},
		"whoever asks from SQL": {"status"},
		"nobody":                nil,
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
				if name != "status" && !strings.Contains(err.Error(), "lacks a grant") {
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

// The functions run with their owner's rights, so nothing of the caller's may be found in place of
// what they mean: neither in an earlier schema nor among temporary objects.
func TestACallersSearchPathDoesNotReachIntoTheFunctions(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	role := newRole(t, pool)
	for _, who := range []string{"producer", "worker", "whoever purges"} {
		execute(t, pool, "GRANT ALL ON DATABASE "+pool.Config().ConnConfig.Database+" TO "+role)
		grant(t, pool, who, role)
	}
	attacker := connect(t, as(t, pool, role))
	for _, sql := range []string{
		"CREATE SCHEMA evil",
		"CREATE FUNCTION evil.hit() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked as %', current_user; END $$",
	} {
		if _, err := attacker.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	hijack := func(signature, returns string) {
		execute(t, attacker, "CREATE FUNCTION evil."+signature+" RETURNS "+returns+
			" LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.hit(); RETURN NULL; END $$")
	}
	hijack("encode(bytea, text)", "text")
	hijack("sha256(bytea)", "bytea")
	hijack("clock_timestamp()", "timestamptz")
	hijack("gen_random_uuid()", "uuid")
	hijack("uuidv7()", "uuid")
	hijack("pg_current_snapshot()", "pg_snapshot")
	hijack("pg_is_in_recovery()", "boolean")
	hijack("current_setting(text, boolean)", "text")
	hijack("split_part(text, text, integer)", "text")
	hijack("eq(uuid, uuid)", "boolean")
	hijack("lt(uuid, uuid)", "boolean")
	hijack("cat(text, text)", "text")
	hijack("txt(text, text)", "boolean")
	for operator, function := range map[string]string{
		"= (LEFTARG = uuid, RIGHTARG = uuid": "eq", "< (LEFTARG = uuid, RIGHTARG = uuid": "lt", "> (LEFTARG = uuid, RIGHTARG = uuid": "lt",
		"|| (LEFTARG = text, RIGHTARG = text": "cat", "= (LEFTARG = text, RIGHTARG = text": "txt", "~ (LEFTARG = text, RIGHTARG = text": "txt",
	} {
		execute(t, attacker, "CREATE OPERATOR evil."+operator+", FUNCTION = evil."+function+")")
	}
	execute(t, attacker, "CREATE TEMP TABLE barrier (id uuid, xid xid8); CREATE TEMP TABLE pg_database AS SELECT * FROM pg_catalog.pg_database LIMIT 0")
	execute(t, attacker, "CREATE TEMP TABLE horizon AS SELECT gen_random_uuid() AS purged_through; CREATE DOMAIN pg_temp.uuid AS text; CREATE DOMAIN pg_temp.xid8 AS text")
	execute(t, attacker, "SET search_path = evil, pg_temp, pg_catalog, public")
	if _, err := attacker.Exec(t.Context(), "SELECT clock_timestamp()"); err == nil || !strings.Contains(err.Error(), "hijacked as "+role) {
		t.Fatalf("the trap does not work: %v", err)
	}

	origin := query[string](t, pool, "SELECT pgbarrier.origin()")
	tx := begin(t, attacker)
	token := create(t, tx)
	commit(t, tx)
	if !strings.HasSuffix(token.String(), origin) {
		t.Errorf("%v has not the origin %s", token, origin)
	}
	for _, db := range []pgbarrier.DB{attacker, pool} {
		want(t, db, pgbarrier.Committed, token)
	}
	if _, err := pgbarrier.Purge(t.Context(), attacker, time.Hour); err != nil {
		t.Error(err)
	}
	if err := pgbarrier.CheckSchema(t.Context(), attacker); err != nil {
		t.Error(err)
	}

	// Whoever migrates has even more rights to lose.
	execute(t, pool, "DROP SCHEMA pgbarrier CASCADE; CREATE TABLE mine ()")
	tx = begin(t, pool)
	execute(t, tx, "SET LOCAL search_path = evil, pg_catalog, public")
	migrate(t, tx)
	migrate(t, tx)
	execute(t, tx, "DROP TABLE mine") // the path is as it was
	commit(t, tx)
	if path := query[string](t, pool, "SHOW search_path"); path != `"$user", public` {
		t.Errorf("the search_path is %s after migrating", path)
	}
	want(t, pool, pgbarrier.Committed, committed(t, pool))
}
