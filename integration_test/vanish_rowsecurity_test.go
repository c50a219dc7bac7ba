package integration_test

import (
	"fmt"
	"testing"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// Policies can hide rows from the owner of the functions. Then there is no answer, rather than a wrong one.
func TestRowsThatRowSecurityHidesTellNoFalseAbort(t *testing.T) {
	for name, policy := range map[string]string{
		"all":               "",
		"some":              "CREATE POLICY part ON pgbarrier.%[1]s USING (id::text >= (SELECT current_setting('pgbarrier.from', true)))",
		"all but the marks": "CREATE POLICY marks ON pgbarrier.%[1]s USING (id::text < '00000001-0000-0000-0000-000000000000')",
		"none":              "CREATE POLICY everything ON pgbarrier.%[1]s USING (true)",
	} {
		for _, table := range []string{"barrier", "origin"} {
			for _, force := range []string{"ENABLE", "FORCE"} {
				t.Run(force+" "+table+" hides "+name, func(t *testing.T) {
					t.Parallel()
					pool := emptyDatabase(t)
					role := newRole(t, pool)
					execute(t, pool, "GRANT CREATE ON DATABASE "+pool.Config().ConnConfig.Database+" TO "+role)
					owner := as(t, pool, role)
					migrate(t, owner)
					worker := newRole(t, pool)
					grant(t, owner, "worker", worker)
					tokens := []pgbarrier.Token{committed(t, owner), committed(t, owner)}
					lost := lostAtSavepoint(t, owner)

					sql := "ALTER TABLE pgbarrier." + table + " ENABLE ROW LEVEL SECURITY;"
					if force == "FORCE" {
						sql += "ALTER TABLE pgbarrier." + table + " FORCE ROW LEVEL SECURITY;"
					}
					if policy != "" {
						sql += fmt.Sprintf(policy, table)
					}
					execute(t, owner, sql)
					workers := as(t, pool, worker)
					for _, token := range tokens {
						asked(t, owner, nil, token, func(how string, err error) {
							switch {
							case force == "ENABLE" && err != nil: // not for the owner, whose rights the functions have
								t.Errorf("%s gives %v", how, err)
							case force == "FORCE" && how != "a listener's wait" && err == nil && name != "none" && table == "barrier":
								t.Errorf("%s gives committed", how)
							}
						})
						neverAborted(t, owner, nil, token)
						if err := checked(t.Context(), workers, token); (err == nil) != (force == "ENABLE") {
							t.Errorf("the worker's check gives %v", err)
						}
					}
					// Whoever purges or cleans meanwhile hides no row from the horizon either.
					for _, sql := range []string{"SELECT pgbarrier.purge('1 microsecond')", "DELETE FROM pgbarrier.barrier WHERE id >= '00000001-0000-0000-0000-000000000000'", "TRUNCATE pgbarrier.barrier"} {
						_, _ = owner.Exec(t.Context(), sql)
						neverAborted(t, owner, nil, tokens...)
					}

					execute(t, owner, "ALTER TABLE pgbarrier."+table+" DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
					neverAborted(t, owner, nil, tokens...)
					migrate(t, owner)
					wantByRows(t, owner, nil, tokens...)
					if err := checked(t.Context(), owner, lost); err == nil || err == listener.ErrPending {
						t.Errorf("what was lost gives %v", err)
					}
					wantExact(t, owner)
				})
			}
		}
	}
}
