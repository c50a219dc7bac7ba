package main

import (
	"bufio"
	"encoding/json"
	"strings"
	"testing"
)

func TestDoctorsExitCodeIsThatOfTheWorstFinding(t *testing.T) {
	url := migrated(t)
	conn := connectTo(t, url)
	pgbarrierCommand(t, url, "doctor", "--retention=7d").expect(t, exitOK, "ok    listen  ", "ok    server  ", "PostgreSQL ")

	_, err := conn.Exec(t.Context(), "ALTER DATABASE "+conn.Config().Database+" SET pgbarrier.announce = off")
	must(t, err)
	pgbarrierCommand(t, url, "doctor").expect(t, exitWarned, "warn  announce  ", "  to do: ", "ok    listen  ")

	_, err = conn.Exec(t.Context(), "DROP TRIGGER announce ON pgbarrier.barrier")
	must(t, err)
	o := pgbarrierCommand(t, url, "doctor", "--json")
	o.expect(t, exitFailed)
	levels := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(o.out)); lines.Scan(); {
		var f struct{ Finding, Level, Found, Remedy string }
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil || f.Found == "" || (f.Level == "ok") != (f.Remedy == "") {
			t.Errorf("doctor --json printed %q (%v)", lines.Text(), err)
		}
		levels[f.Finding] = f.Level
	}
	if levels["announce"] != "warn" || levels["triggers"] != "fail" || levels["listen"] != "ok" {
		t.Errorf("levels are %v", levels)
	}

	pgbarrierCommand(t, server.DatabaseForTest(t), "doctor").expect(t, exitFailed, "fail  schema  ", "pgbarrier migrate")
	pgbarrierCommand(t, url, "doctor", "--timeout=0s").expect(t, exitUsage, "longer than zero")
	pgbarrierCommand(t, url, "doctor", "--timeout=1ns").expect(t, exitError)
	pgbarrierCommand(t, "postgres://u:secret@127.0.0.1:1/x", "doctor").expect(t, exitError, "failed to connect", "DATABASE_URL")
}
