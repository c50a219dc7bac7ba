package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheReadmesProgramRuns(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "```go\n")
	program, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatal("no program in README.md")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), "go", "run", file)
	run.Dir = ".."
	run.Env = append(os.Environ(), "DATABASE_URL="+server.DatabaseForTest(t))
	out, err := run.CombinedOutput()
	if err != nil || string(out) != "committed: the changes can be read, do the work\n" {
		t.Fatalf("%v\n%s", err, out)
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

// The grants that the README lists are those at the head of the schema file.
func TestTheReadmesGrantsAreThoseOfTheSchema(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile("../sql/triggers.sql")
	if err != nil {
		t.Fatal(err)
	}
	grants := 0
	for line := range strings.Lines(string(readme)) {
		if grant, _, ok := strings.Cut(line, " TO "); ok && strings.HasPrefix(grant, "GRANT ") {
			grants++
			if !strings.Contains(string(schema), "--   "+grant+" TO ") {
				t.Errorf("sql/triggers.sql does not list %s", grant)
			}
		}
	}
	if grants == 0 {
		t.Error("no grants in README.md")
	}
}
