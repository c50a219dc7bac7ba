package integration_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what is rendered: the promises in README.md and docs/promises.md, docs/api.txt")

const rewrite = "go test ./integration_test -run TestTheReadmesPromises -update"

// verdicts are what became of the tests that opened a database, by the top-level test's name.
var verdicts struct {
	sync.Mutex
	bad map[string]string // how, or ""
}

// record makes the end of the test known to whoever asks for unkept promises.
func record(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		verdict := ""
		if t.Failed() {
			verdict = "failed"
		} else if t.Skipped() {
			verdict = "was skipped"
		}
		name, _, _ := strings.Cut(t.Name(), "/")
		verdicts.Lock()
		defer verdicts.Unlock()
		if verdicts.bad == nil {
			verdicts.bad = make(map[string]string)
		}
		if verdicts.bad[name] == "" {
			verdicts.bad[name] = verdict
		}
	})
}

// unkept returns the promised tests that did not run, were skipped or failed, if the whole suite was
// to run. Outside of CI a test may be skipped because the machine lacks a program.
func unkept() (problems []string) {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return nil
		}
	}
	verdicts.Lock()
	defer verdicts.Unlock()
	for _, p := range promises {
		for _, test := range p.tests {
			switch verdict, ran := verdicts.bad[test]; {
			case server.Major() < since[test]:
			case !ran:
				problems = append(problems, fmt.Sprintf("promise %q: %s did not run", p.happens, test))
			case verdict == "was skipped" && os.Getenv("CI") != "true":
				fmt.Fprintf(os.Stderr, "promise %q: NOT TESTED here: %s %s\n", p.happens, test, verdict)
			case verdict != "":
				problems = append(problems, fmt.Sprintf("promise %q: %s %s", p.happens, test, verdict))
			}
		}
	}
	return problems
}

// existing are the names of this package's tests.
func existing(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	names := map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

func TestEveryPromiseHasTestsAndBreakagesThatExist(t *testing.T) {
	tests := existing(t)
	for _, p := range promises {
		if len(p.tests) == 0 || len(p.breaks) == 0 {
			t.Errorf("promise %q has %d tests and %d breakages", p.happens, len(p.tests), len(p.breaks))
		}
		for _, name := range p.tests {
			if !tests[name] {
				t.Errorf("promise %q: there is no %s", p.happens, name)
			}
		}
		for _, b := range p.breaks {
			if !slices.Contains(p.tests, b.test) {
				t.Errorf("promise %q: %s, which notices that %s, is not among its tests", p.happens, b.test, b.what)
			}
			b.broken(t)
		}
	}
}
