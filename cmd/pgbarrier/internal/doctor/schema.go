package doctor

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

func installed(ctx context.Context, p *Patient) (Level, string, error) {
	err := pgbarrier.CheckSchema(ctx, p.conn)
	if errors.Is(err, pgbarrier.ErrNotMigrated) {
		return Fail, err.Error(), nil
	}
	return OK, "the schema is complete", err
}

// What this release's sql/triggers.sql says of itself.
var (
	ownRevision = regexp.MustCompile(`revision CONSTANT text := '(\w+)'`).FindStringSubmatch(pgbarrier.SQL)[1]
	describe    = strings.Split(pgbarrier.SQL, "$describe$")[1]
	recorded    = regexp.MustCompile(`^pgbarrier schema \d+, revision (\w+), state (\w+)$`)
)

// record returns the revision and state that the installation has left in the schema's comment.
func record(ctx context.Context, p *Patient) (revision, state string, err error) {
	var comment string
	err = p.row(ctx, "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = 'pgbarrier'", &comment)
	if m := recorded.FindStringSubmatch(comment); m != nil {
		revision, state = m[1], m[2]
	}
	return revision, state, err
}

func revision(ctx context.Context, p *Patient) (Level, string, error) {
	switch found, _, err := record(ctx, p); {
	case err != nil:
		return 0, "", err
	case found == "":
		return Warn, "the schema's comment, which names its revision, is gone or of an older version", nil
	case found != ownRevision:
		return Warn, fmt.Sprintf("revision %s is installed, this command has %s", found, ownRevision), nil
	default:
		return OK, "revision " + found + ", as this command has", nil
	}
}

// drift recomputes what an installation leaves in the schema's comment. Which function it is can be told if it was
// this release's.
func drift(ctx context.Context, p *Patient) (Level, string, error) {
	revision, before, err := record(ctx, p)
	if err != nil {
		return 0, "", err
	}
	var now string
	if err := p.row(ctx, describe, &now); err != nil {
		return 0, "", err
	}
	switch {
	case before == "":
		return Warn, "how the schema was installed is not known", nil
	case before == now:
		return OK, "all is as it was installed", nil
	case revision != ownRevision:
		return Fail, "something in the schema was changed", nil
	}

	var bodies []string
	for _, m := range regexp.MustCompile(`(?s)\$fn\$(.*?)\$fn\$`).FindAllStringSubmatch(pgbarrier.SQL, -1) {
		sum := md5.Sum([]byte(m[1]))
		bodies = append(bodies, hex.EncodeToString(sum[:]))
	}
	level, found, err := problems("something else in the schema than a function's body was changed", fmt.Sprintf(`
		SELECT 'fail', format('function %%s was changed or added', p.oid::regprocedure)
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname = 'pgbarrier' AND md5(p.prosrc) NOT IN ('%s')
		ORDER BY p.oid::regprocedure::text`, strings.Join(bodies, "','")))(ctx, p)
	return max(level, Fail), found, err
}

var triggers = problems("the triggers are as they should be", `
	WITH wanted (relation, name, enabled) AS (
		VALUES ('barrier', 'announce', 'OA'), ('barrier', 'lost_table', 'A'), ('barrier', 'lost_rows', 'O'), ('barrier', 'lost_row', 'R'),
			('barrier', 'lost_id', 'A'), ('origin', 'only_origin', 'A'), ('origin', 'lost_table', 'A'), ('origin', 'lost_rows', 'A')
	), found AS (
		SELECT c.relname AS relation, t.tgname AS name, t.tgenabled AS enabled
		FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'pgbarrier' AND NOT t.tgisinternal
	)
	SELECT 'fail', format('trigger %s of pgbarrier.%s %s', coalesce(w.name, f.name), coalesce(w.relation, f.relation),
		CASE WHEN f.name IS NULL THEN 'is missing' WHEN w.name IS NULL THEN 'is a stranger''s'
			WHEN f.enabled = 'D' THEN 'is disabled' ELSE 'is enabled in another way' END)
	FROM wanted w FULL JOIN found f ON f.relation = w.relation AND f.name = w.name
	WHERE w.name IS NULL OR f.name IS NULL OR strpos(w.enabled, f.enabled::text) = 0
	UNION ALL
	SELECT 'fail', format('rule %s of pgbarrier.%s is a stranger''s', r.rulename, c.relname)
	FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = 'pgbarrier' AND c.relkind = 'r'`)

var rowSecurity = problems("row security is off", `
	SELECT CASE WHEN c.relforcerowsecurity THEN 'fail' ELSE 'warn' END,
		format('row security is %s for pgbarrier.%s', CASE WHEN c.relforcerowsecurity THEN 'forced' ELSE 'on' END, c.relname)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = 'pgbarrier' AND (c.relrowsecurity OR c.relforcerowsecurity)`)

var owner = problems("all of the schema belongs to one role", `
	SELECT 'fail', format('%s belongs to role %s, schema pgbarrier to %s', o.name, pg_get_userbyid(o.owner), pg_get_userbyid(n.nspowner))
	FROM pg_namespace n JOIN (
		SELECT proowner AS owner, pronamespace AS schema, concat('function ', oid::regprocedure) AS name FROM pg_proc
		UNION ALL SELECT relowner, relnamespace, concat('relation ', relname) FROM pg_class WHERE relkind IN ('r', 'v')
	) o ON o.schema = n.oid
	WHERE n.nspname = 'pgbarrier' AND o.owner <> n.nspowner
	ORDER BY o.name`)

func mark(ctx context.Context, p *Patient) (Level, string, error) {
	var there bool
	err := p.row(ctx, "SELECT EXISTS (SELECT FROM pgbarrier.horizon)", &there)
	if err == nil && !there {
		return Fail, "the table has no mark of its own", nil
	}
	return OK, "the table has its mark", err
}

const slowCheck = 250 * time.Millisecond

func check(ctx context.Context, p *Patient) (Level, string, error) {
	asked := time.Now()
	_, err := pgbarrier.Check(ctx, p.conn)
	took := time.Since(asked).Round(100 * time.Microsecond)
	switch {
	case errors.Is(err, pgbarrier.ErrNotMigrated):
		return Fail, err.Error(), nil
	case took > slowCheck:
		return Warn, fmt.Sprintf("a check of nothing took %v", took), err
	}
	return OK, fmt.Sprintf("a check took %v", took), err
}

var publications = problems("no publication keeps the tables from being changed", `
	SELECT 'fail', format('pgbarrier.%s is in publication %s and has no replica identity', c.relname, p.pubname)
	FROM pg_publication p
	JOIN pg_publication_tables t ON t.pubname = p.pubname AND t.schemaname = 'pgbarrier'
	JOIN pg_class c ON c.relname = t.tablename
	JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pgbarrier'
	WHERE (p.pubupdate OR p.pubdelete) AND c.relreplident <> 'f' AND NOT EXISTS (
		SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident))`)
