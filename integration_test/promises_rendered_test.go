package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const promisesHead = "| what happens | what the waiter gets |\n|---|---|\n"

func TestTheReadmesPromisesAreThoseThatAreTested(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(readme), promisesHead)
	_, after, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatalf("README.md has no table that begins with\n%s", promisesHead)
	}
	var rows strings.Builder
	for _, p := range promises {
		if p.first {
			fmt.Fprintf(&rows, "| %s | %s |\n", p.happens, p.gets)
		}
	}
	rendered(t, "../README.md", before+promisesHead+rows.String()+"\n"+after)
	rendered(t, "../docs/promises.md", promisesInFull())
}

// rendered fails the test unless the file has the text, or with -update, writes it.
func rendered(t *testing.T, name, text string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if is, err := os.ReadFile(name); err != nil || string(is) != text {
		t.Errorf("%s does not list the promises that are tested (%v): run\n\t%s", name, err, rewrite)
	}
}

// promisesInFull is docs/promises.md.
func promisesInFull() string {
	var b strings.Builder
	b.WriteString(`# Promises

What a waiter gets, whatever happens, and the tests in [integration_test](../integration_test) that keep
it, each against a real PostgreSQL. The suite fails if one of them does not run and pass.

This file is written from the table in integration_test/promises_test.go by

    ` + rewrite + `

| what happens | what the waiter gets | tests |
|---|---|---|
`)
	for _, p := range promises {
		var tests []string
		for _, name := range p.tests {
			if major := since[name]; major > 0 {
				name += fmt.Sprintf(" (PostgreSQL %d and later)", major)
			}
			tests = append(tests, name)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p.happens, p.gets, strings.Join(tests, "<br>"))
	}
	b.WriteString(`
## Broken on purpose

Each promise was broken in the product, and the test that stands beside it failed. To see it again, in
about ten minutes (the files on disk stay as they are):

    go test ./integration_test -run TestABreakageOfEachPromiseIsNoticed -break . -v -timeout 30m

| promise broken for | how | test that failed |
|---|---|---|
`)
	for _, p := range promises {
		for _, breakage := range p.breaks {
			fmt.Fprintf(&b, "| %s | %s (%s) | %s |\n", p.happens, breakage.what, breakage.file, breakage.test)
		}
	}
	return b.String()
}
