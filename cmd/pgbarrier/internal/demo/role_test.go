package demo

import (
	"bytes"
	"fmt"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A role that may create schemas is all that a database of one's own needs.
func TestAsAnOrdinaryRole(t *testing.T) {
	admin := server.DatabaseForTest(t)
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	database, role := u.Path[1:], u.Path[1:]+"_owner"
	query(t, admin, fmt.Sprintf("CREATE ROLE %[1]s LOGIN PASSWORD 'secret'; GRANT CREATE ON DATABASE %[2]s TO %[1]s",
		pgx.Identifier{role}.Sanitize(), pgx.Identifier{database}.Sanitize()))
	defer func() {
		query(t, admin, fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", pgx.Identifier{role}.Sanitize()))
	}()
	u.User = url.UserPassword(role, "secret")
	result, err := Run(t.Context(), config(u.String(), 100, &bytes.Buffer{}))
	if err != nil {
		t.Fatal(err)
	}
	if !result.Kept() || result.Approaches[3].ListenKilled == 0 {
		t.Errorf("%+v", result)
	}
	if left := schemas(t, admin); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}
