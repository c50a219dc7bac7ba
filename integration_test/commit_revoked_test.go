package integration_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// On a hardened server the functions' owner is no superuser, and may lack what everybody else has. Each
// function that announcing and warning use, by name or as an operator or cast, is taken away once.
func TestNoFunctionThatTheOwnerLacksFailsACommit(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	owner, role := newRole(t, pool), newRole(t, pool)
	execute(t, pool, "GRANT CREATE ON DATABASE "+pool.Config().ConnConfig.Database+" TO "+owner)
	migrate(t, as(t, pool, owner))
	grant(t, pool, "producer", role)

	// What create itself needs fails where it is called, which is not in COMMIT.
	const used = `SELECT DISTINCT p.oid::regprocedure::text FROM pg_proc p
		WHERE p.pronamespace = 'pg_catalog'::regnamespace AND (
			p.proname = ANY (regexp_split_to_array(lower((SELECT string_agg(prosrc, ' ') FROM pg_proc WHERE pronamespace = 'pgbarrier'::regnamespace AND proname = ANY ($1))), '[^a-z0-9_]+'))
			OR p.oid IN (SELECT o.oprcode FROM pg_operator o WHERE o.oprleft = ANY ($2::regtype[]) AND o.oprright = ANY ($2::regtype[]))
				AND 'announce' = ANY ($1)
			OR p.oid IN (SELECT c.castfunc FROM pg_cast c WHERE c.casttarget = ANY ($2::regtype[])) AND 'announce' = ANY ($1))`
	types := []string{"text", "boolean", "integer", "float8", "timestamptz", "interval", "xid8", "oid", "regclass", "uuid", `"char"`, "name"}
	rows, _ := pool.Query(t.Context(), used, []string{"announce", "unusual"}, types)
	functions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(functions) < 100 {
		t.Fatalf("only %d functions", len(functions))
	}
	for _, function := range functions {
		execute(t, pool, "REVOKE EXECUTE ON FUNCTION "+function+" FROM PUBLIC")
		var tokens []pgbarrier.Token
		func() {
			producer := connect(t, as(t, pool, role))
			defer func() { _ = producer.Close(t.Context()) }()
			for _, sql := range []string{notify.SQL(), notify.SQL(notify.WithoutAnnouncement())} {
				tx := begin(t, producer)
				var token pgbarrier.Token
				if err := tx.QueryRow(t.Context(), sql).Scan(&token); err != nil {
					t.Logf("%s: %s: %v", function, sql, err)
					rollback(t, tx)
					continue
				}
				if err := tx.Commit(t.Context()); err != nil {
					t.Errorf("without %s: COMMIT: %v", function, err)
				}
				tokens = append(tokens, token)
			}
			// In autocommit, where there would be a warning.
			if _, err := producer.Exec(t.Context(), notify.SQL()); err != nil {
				t.Logf("%s: in autocommit: %v", function, err)
			}
		}()
		execute(t, pool, "GRANT EXECUTE ON FUNCTION "+function+" TO PUBLIC")
		want(t, pool, pgbarrier.Committed, tokens...)
	}
}
