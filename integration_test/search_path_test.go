package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// The functions run with their owner's rights, so nothing of the caller's may be found in place of
// what they mean: neither in an earlier schema nor among temporary objects.
func TestACallersSearchPathDoesNotReachIntoTheFunctions(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	role := newRole(t, pool)
	for _, who := range []string{"producer", "worker", "whoever purges", "whoever reads from a standby"} {
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

	origin := origin(t, pool)
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
	tx = begin(t, attacker, repeatableRead) // judged as on a standby
	for _, db := range []pgbarrier.DB{tx, attacker} {
		if err := pgbarrier.AwaitReplica(t.Context(), db, token); err != nil {
			t.Error(err)
		}
	}
	rollback(t, tx)
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
