package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheProgramOfTheDocsRuns(t *testing.T) {
	t.Parallel()
	programs := 0
	for _, b := range docBlocks(t) {
		if b.language != "go" || !strings.HasPrefix(b.text, "package main\n") {
			continue
		}
		programs++
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		run := exec.CommandContext(t.Context(), "go", "run", file)
		run.Dir = ".."
		run.Env = append(os.Environ(), "DATABASE_URL="+server.DatabaseForTest(t))
		out, err := run.CombinedOutput()
		if err != nil || string(out) != "committed: the changes can be read, do the work\n" {
			t.Errorf("%s: %v\n%s", b.page, err, out)
		}
	}
	if programs == 0 {
		t.Error("no program in the docs")
	}
}

func TestTheReadmeBeginsWithTheTwoCommands(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	demo := strings.Index(string(readme), "\n    go run ./cmd/pgbarrier demo ")
	tests := strings.Index(string(readme), "\n    go test work ")
	if heading := strings.Index(string(readme), "\n## "); demo < 0 || tests < demo || heading < tests {
		t.Error("the demo and the tests do not stand first in README.md")
	}
}

// The grants that the docs list are those at the head of the schema file.
func TestTheGrantsOfTheDocsAreThoseOfTheSchema(t *testing.T) {
	page, err := os.ReadFile("../docs/start.md")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile("../sql/triggers.sql")
	if err != nil {
		t.Fatal(err)
	}
	grants := 0
	for line := range strings.Lines(string(page)) {
		if grant, _, ok := strings.Cut(line, " TO "); ok && strings.HasPrefix(grant, "GRANT ") {
			grants++
			if !strings.Contains(string(schema), "--   "+grant+" TO ") {
				t.Errorf("sql/triggers.sql does not list %s", grant)
			}
		}
	}
	if grants == 0 {
		t.Error("no grants in docs/start.md")
	}
}
