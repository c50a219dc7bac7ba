package integration_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

// someRows are part of the barriers; what is left includes the horizon's rows.
const someRows = "DELETE FROM pgbarrier.barrier WHERE id IN (SELECT id FROM pgbarrier.barrier WHERE id >= '00000001-0000-0000-0000-000000000000' ORDER BY id DESC LIMIT 2)"

// Cleaners and pg_restore --disable-triggers switch all triggers off. ENABLE TRIGGER ALL does not bring back what
// was: those that were enabled ALWAYS or for replication are ordinary ones then.
func TestRowsThatVanishWhileAllTriggersAreDisabledTellNoFalseAbort(t *testing.T) {
	for _, which := range []string{"ALL", "USER"} {
		for name, sql := range map[string]string{
			"TRUNCATE":                       "TRUNCATE pgbarrier.barrier",
			"DELETE of all":                  "DELETE FROM pgbarrier.barrier",
			"DELETE of some":                 someRows,
			"DELETE of all but the marks":    "DELETE FROM pgbarrier.barrier WHERE id >= '00000001-0000-0000-0000-000000000000'",
			"UPDATE of ids":                  "UPDATE pgbarrier.barrier SET id = overlay(id::text PLACING 'ffff' FROM 10)::uuid WHERE id >= '00000001-0000-0000-0000-000000000000'",
			"DELETE of the latest mark":      "DELETE FROM pgbarrier.barrier WHERE id = (" + marks + " LIMIT 1)",
			"DELETE of some by replication":  "SET LOCAL session_replication_role = replica; " + someRows,
			"TRUNCATE of all tables at once": "TRUNCATE pgbarrier.barrier, pgbarrier.origin",
		} {
			t.Run(which+" "+name, func(t *testing.T) {
				t.Parallel()
				pool := migratedDatabase(t)
				twoMarks(t, pool, pool)
				tokens := []pgbarrier.Token{committed(t, pool), committed(t, pool), committed(t, pool)}
				disable := fmt.Sprintf("ALTER TABLE pgbarrier.barrier DISABLE TRIGGER %s; ALTER TABLE pgbarrier.origin DISABLE TRIGGER %[1]s; ", which)
				enable := fmt.Sprintf("; ALTER TABLE pgbarrier.barrier ENABLE TRIGGER %s; ALTER TABLE pgbarrier.origin ENABLE TRIGGER %[1]s", which)

				execute(t, pool, "BEGIN; "+disable+sql+"; COMMIT")
				neverAborted(t, pool, nil, tokens...)
				execute(t, pool, "BEGIN"+enable+"; COMMIT")
				neverAborted(t, pool, nil, tokens...)

				if name == "TRUNCATE of all tables at once" {
					migrate(t, pool) // there is no origin
					wantAsked(t, pool, nil, pgbarrier.ErrWrongDatabase, tokens...)
					wantExact(t, pool)
					return
				}
				// The triggers are enabled, and some in another way: what goes by replication goes unnoticed.
				more := []pgbarrier.Token{committed(t, pool), committed(t, pool), committed(t, pool)}
				execute(t, pool, "BEGIN; SET LOCAL session_replication_role = replica; "+someRows+"; COMMIT")
				neverAborted(t, pool, nil, append(tokens, more...)...)
				// A purge moves the horizon, and does not mend the triggers.
				execute(t, pool, "SELECT pgbarrier.purge('1 hour')")
				neverAborted(t, pool, nil, append(tokens, more...)...)

				migrate(t, pool)
				if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
					t.Error(err)
				}
				wantByRows(t, pool, nil, append(tokens, more...)...)
				wantExact(t, pool)
			})
		}
	}
}

// A trigger that was missing tells nothing of what went meanwhile.
func TestRowsThatVanishWhileATriggerIsMissingTellNoFalseAbortOnceItIsBack(t *testing.T) {
	for trigger, sql := range map[string]string{
		"lost_rows": "DELETE FROM pgbarrier.barrier WHERE id >= '00000001-0000-0000-0000-000000000000'",
		"lost_row":  "SET LOCAL session_replication_role = replica; DELETE FROM pgbarrier.barrier WHERE id >= '00000001-0000-0000-0000-000000000000'",
		"lost_id":   "UPDATE pgbarrier.barrier SET id = overlay(id::text PLACING 'ffff' FROM 10)::uuid WHERE id >= '00000001-0000-0000-0000-000000000000'",
	} {
		for how, change := range map[string]string{"dropped": "DROP TRIGGER %s ON pgbarrier.barrier", "disabled": "ALTER TABLE pgbarrier.barrier DISABLE TRIGGER %s"} {
			t.Run(trigger+" "+how, func(t *testing.T) {
				t.Parallel()
				pool := migratedDatabase(t)
				tokens := []pgbarrier.Token{committed(t, pool), committed(t, pool)}
				execute(t, pool, "BEGIN; "+fmt.Sprintf(change, trigger)+"; "+sql+"; COMMIT")
				neverAborted(t, pool, nil, tokens...)
				migrate(t, pool)
				wantAsked(t, pool, nil, pgbarrier.ErrExpired, tokens...)
				wantExact(t, pool)
			})
		}
	}
}

// Also when it is switched on again exactly as it was, so that nothing is left to be repaired.
func TestRowsThatVanishWhileATriggerIsSwitchedOffAndOnAgainTellNoFalseAbort(t *testing.T) {
	for trigger, again := range map[string]string{"lost_rows": "ENABLE", "lost_row": "ENABLE REPLICA", "lost_id": "ENABLE ALWAYS"} {
		for repair, mend := range map[string]func(t *testing.T, pool *pgxpool.Pool){
			"purge":   func(t *testing.T, pool *pgxpool.Pool) { execute(t, pool, "SELECT pgbarrier.purge('1 hour')") },
			"DELETE":  func(t *testing.T, pool *pgxpool.Pool) { execute(t, pool, someRows) },
			"Migrate": func(t *testing.T, pool *pgxpool.Pool) { migrate(t, pool) },
		} {
			t.Run(trigger+" "+repair, func(t *testing.T) {
				t.Parallel()
				pool := migratedDatabase(t)
				tokens := []pgbarrier.Token{committed(t, pool), committed(t, pool)}
				execute(t, pool, fmt.Sprintf(`BEGIN; ALTER TABLE pgbarrier.barrier DISABLE TRIGGER %s;
					SET LOCAL session_replication_role = %s; `+someRows+`;
					ALTER TABLE pgbarrier.barrier %s TRIGGER %[1]s; COMMIT`, trigger, map[bool]string{true: "replica", false: "origin"}[trigger == "lost_row"], again))
				if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
					t.Fatal(err)
				}
				neverAborted(t, pool, nil, tokens...)
				committed(t, pool)
				mend(t, pool)
				wantByRows(t, pool, nil, tokens...)
				wantExact(t, pool)
			})
		}
	}
}
