package integration_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var breaking = flag.String("break", "", "break the product in each way of the tables that matches, and see a test fail")

// A breakage is a change of one line of the product that a test has to notice. The line ends with a comment,
// "breakage: " and a name, so that it is found whatever becomes of its text.
type breakage struct {
	what     string // is done wrong then
	file     string // of the repository
	at       string // the name that the line has
	from, to string // the line's from becomes to; without from, all of it
	test     string // has to fail
}

// broken is the text of the file with the breakage.
func (b breakage) broken(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", b.file))
	if err != nil {
		t.Fatal(err)
	}
	var broken strings.Builder
	found := 0
	for line := range strings.Lines(string(text)) {
		code, name, marked := strings.Cut(strings.TrimSuffix(line, "\n"), "breakage: ")
		if marked && name == b.at {
			found++
			if !strings.Contains(code, b.from) {
				t.Errorf("%s: the line of %q has no %q", b.what, b.at, b.from)
			}
			if b.from == "" {
				line = b.to + "\n"
			} else {
				line = strings.Replace(line, b.from, b.to, 1)
			}
		}
		broken.WriteString(line)
	}
	if found != 1 {
		t.Errorf("%s: %d lines of %s are marked %q", b.what, found, b.file, b.at)
	}
	return broken.String()
}

// isTried reports whether -break asks for the breakage.
func (b breakage) isTried() bool {
	return *breaking != "" && regexp.MustCompile(*breaking).MatchString(b.what)
}

// run runs the test of the package in dir with the breakage, on a copy of the file, and returns what
// `go test` printed and whether the test failed. It takes seconds to minutes.
func (b breakage) run(t *testing.T, dir string, flags ...string) (output string, noticed bool) {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("..", b.file))
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), filepath.Base(b.file))
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{file: broken}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{broken: []byte(b.broken(t)), overlay: replace} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	args := append([]string{"test", "-timeout", "5m", "-overlay", overlay, "-run", "^" + b.test + "$", dir}, flags...)
	out, _ := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	t.Logf("%s: %v", b.what, time.Since(began).Round(time.Millisecond))
	// A panic outside of the test's own goroutine names no test, and a COMMIT that waits for ever has its time run out.
	noticed = strings.Contains(string(out), "--- FAIL: "+b.test+" ")
	return string(out), noticed || strings.Contains(string(out), "panic: runtime error") || strings.Contains(string(out), "panic: test timed out")
}

// It builds and runs a test for each breakage, which takes minutes: only with -break, which takes a regular
// expression of what is broken; a dot is all of them.
func TestABreakageOfEachPromiseIsNoticed(t *testing.T) {
	for _, p := range promises {
		for _, b := range p.breaks {
			if b.isTried() {
				if out, noticed := b.run(t, "."); !noticed {
					t.Errorf("%s: not noticed by %s\n%s", b.what, b.test, out)
				}
			}
		}
	}
}
