package doctor

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func all(t *testing.T, p *Patient) map[string]Finding {
	t.Helper()
	found := map[string]Finding{}
	for f := range p.Findings(t.Context()) {
		found[f.Name] = f
	}
	if len(found) != len(examinations) {
		t.Fatalf("%d findings of %d examinations", len(found), len(examinations))
	}
	return found
}

func TestAHealthyDatabaseIsAllOK(t *testing.T) {
	w := newWard(t)
	listens(t, w)
	for _, f := range all(t, w.patient(t)) {
		if f.Level != OK || f.Remedy != "" || f.Found == "" {
			t.Errorf("%+v", f)
		}
	}
}

// Whatever the role may not see is a finding that says what to grant, and never the end.
func TestARoleWithoutRightsIsToldWhatItCouldNotSee(t *testing.T) {
	w := newWard(t)
	w.role = w.newRole(t)
	found := all(t, w.patient(t))
	for _, name := range []string{"schema", "mark", "check", "future-ids", "backlog", "synchronous-standby", "pending", "snapshots", "listeners", "cost"} {
		if f := found[name]; f.Level != Warn || !strings.HasPrefix(f.Found, "could not look: ") || !strings.Contains(f.Remedy, `pg_monitor`) || !strings.Contains(f.Remedy, w.role) {
			t.Errorf("%+v", f)
		}
		delete(found, name)
	}
	if f := found["grants"]; f.Level != Fail {
		t.Errorf("%+v", f)
	}
	delete(found, "grants")
	for _, f := range found {
		if f.Level != OK {
			t.Errorf("%+v", f)
		}
	}

	w.do(t, "GRANT pg_monitor, pg_read_all_data TO "+w.role, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgbarrier TO "+w.role)
	for _, f := range all(t, w.patient(t)) {
		if f.Level != OK {
			t.Errorf("with what was asked for: %+v", f)
		}
	}
}

func TestARevokedFunctionOfTheServerIsAFindingAndNotTheEnd(t *testing.T) {
	w := newWard(t)
	worker(t, w)
	w.do(t, "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_lock_status(), pg_catalog.pg_notification_queue_usage(), pg_catalog.pg_prepared_xact() FROM PUBLIC")
	found := all(t, w.patient(t))
	for _, name := range []string{"notify-lock", "announcing-lock", "locks", "notify-queue", "prepared"} {
		if f := found[name]; f.Level != Warn || !strings.Contains(f.Found, "could not look: ERROR: permission denied for function") {
			t.Errorf("%+v", f)
		}
	}
}

func TestWithoutTheSchemaTheRestIsExamined(t *testing.T) {
	w := newWard(t)
	w.do(t, "DROP SCHEMA pgbarrier CASCADE")
	found := all(t, w.patient(t))
	if f := found["schema"]; f.Level != Fail || !strings.Contains(f.Remedy, "pgbarrier migrate") {
		t.Errorf("%+v", f)
	}
	for _, name := range []string{"drift", "triggers", "check", "backlog"} {
		if f := found[name]; f.Level != Warn || !strings.Contains(f.Found, "no schema pgbarrier") {
			t.Errorf("%+v", f)
		}
	}
	for _, name := range []string{"listen", "notify-queue", "connections", "wraparound"} {
		if f := found[name]; f.Level != OK {
			t.Errorf("%+v", f)
		}
	}
}

func TestAStandbyIsExaminedToTheEnd(t *testing.T) {
	standby, err := server.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	w := &ward{url: standby.URL()}
	for name, f := range all(t, w.patient(t)) {
		if name == "listen" && (f.Level != Warn || !strings.Contains(f.Found, "could not look: the server is a standby")) ||
			name == "standby" && f.Level != Fail || name == "connections" && f.Level != OK {
			t.Errorf("%+v", f)
		}
	}
}

func TestALockedTableHoldsNothingUp(t *testing.T) {
	w := newWard(t)
	execute(t, w.connect(t), "BEGIN", "LOCK TABLE pgbarrier.barrier IN ACCESS EXCLUSIVE MODE")
	found := all(t, w.patient(t))
	for _, name := range []string{"future-ids", "backlog"} {
		if f := found[name]; f.Level != Warn || !strings.Contains(f.Found, "lock timeout") || !strings.Contains(f.Remedy, "locks what was looked at") {
			t.Errorf("%+v", f)
		}
	}
	if f := found["wraparound"]; f.Level != OK {
		t.Errorf("%+v", f)
	}
}

func TestAConnectionThatIsLostIsReplaced(t *testing.T) {
	w := newWard(t)
	p := w.patient(t)
	lost := false
	for f := range p.Findings(t.Context()) {
		if f.Level != OK && (lost || !strings.Contains(f.Found, "could not look: ")) {
			t.Errorf("%+v", f)
		}
		lost = lost || f.Level != OK
		if f.Name == "drift" {
			w.do(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+w.db+"' AND pid <> pg_backend_pid()")
		}
	}
	if !lost {
		t.Error("nobody noticed")
	}
}

func TestAnExaminationEndsWithItsContext(t *testing.T) {
	w := newWard(t)
	p := w.patient(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for range p.Findings(ctx) {
		n++
		cancel()
	}
	if n != 1 {
		t.Errorf("%d findings after the end", n-1)
	}
	if _, err := Open(ctx, p.config, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
}

// What an examination does, it does in a transaction that can do no harm.
func TestAnExaminationChangesNothing(t *testing.T) {
	w := newWard(t)
	p := w.patient(t)
	err := p.examined(t.Context(), func(ctx context.Context) error {
		_, err := p.conn.Exec(ctx, "CREATE TABLE public.left_behind ()")
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "read-only transaction") {
		t.Errorf("a write ended with %v", err)
	}
	begun := time.Now()
	err = p.examined(t.Context(), func(ctx context.Context) error {
		_, err := p.conn.Exec(ctx, "SELECT pg_sleep(3600)")
		return err
	})
	if err == nil || time.Since(begun) < statementTimeout/2 {
		t.Errorf("a long statement ended with %v", err)
	}
}

func TestTheRetentionDecidesWhatIsABacklog(t *testing.T) {
	w := newWard(t)
	createdAt(-2*time.Hour)(t, w)
	for retention, level := range map[time.Duration]Level{0: OK, 2 * time.Hour: OK, time.Hour: Warn} {
		config, err := pgx.ParseConfig(w.url)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Open(t.Context(), config, retention)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if f := all(t, p)["backlog"]; f.Level != level {
			t.Errorf("retention %v: %+v", retention, f)
		}
	}
}

// docs/doctor.md has the table of all findings.
func TestTheDocsTableIsOfTheFindingsThereAre(t *testing.T) {
	var table strings.Builder
	for _, e := range examinations {
		table.WriteString("| `" + e.name + "` | " + e.meaning + " | " + e.remedy + " |\n")
	}
	page, err := os.ReadFile("../../../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "|---|---|---|\n"+table.String()+"\n") {
		t.Errorf("docs/doctor.md should have\n%s", table.String())
	}

	// What the symptoms' page names, there is.
	symptoms, err := os.ReadFile("../../../../docs/symptoms.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z][a-z-]+)`").FindAllStringSubmatch(string(symptoms), -1)
	if len(named) < 6 {
		t.Errorf("docs/symptoms.md names %d findings", len(named))
	}
	for _, name := range named {
		if !strings.Contains(table.String(), "`"+name[1]+"`") {
			t.Errorf("docs/symptoms.md names %s, which is no finding", name[1])
		}
	}
}
