package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

// A block is what stands between two lines of three backquotes.
type block struct {
	page     string
	language string
	source   string // the file that the comment on the line before names, or ""
	text     string
}

// docBlocks returns the blocks of README.md and docs/*.md.
func docBlocks(t *testing.T) (blocks []block) {
	t.Helper()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var open *block
		before := ""
		for line := range strings.Lines(string(text)) {
			fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
			switch {
			case isFence && open == nil:
				source, _ := strings.CutSuffix(strings.TrimPrefix(before, "<!-- "), " -->")
				if source == before {
					source = ""
				}
				open = &block{page: page, language: fence, source: source}
			case isFence:
				blocks, open = append(blocks, *open), nil
			case open != nil:
				open.text += line
			}
			before = strings.TrimSpace(line)
		}
		if open != nil {
			t.Fatalf("%s: a block does not end", page)
		}
	}
	return blocks
}

// Go code in the docs is a program that a test runs, or is quoted from a file that one compiles and runs.
func TestTheDocsQuoteCodeThatRuns(t *testing.T) {
	t.Parallel()
	for _, b := range docBlocks(t) {
		if b.language != "go" || strings.HasPrefix(b.text, "package main\n") {
			continue
		}
		if b.source == "" {
			t.Errorf("%s: no comment names the file that this is quoted from:\n%s", b.page, b.text)
			continue
		}
		source, err := os.ReadFile(filepath.Join("..", b.source))
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(unindented(string(source)), unindented(b.text)) {
			t.Errorf("%s: this does not stand in %s:\n%s", b.page, b.source, b.text)
		}
	}
}

func unindented(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.TrimSpace(line) + "\n")
	}
	return out.String()
}

// What is a command for a database in the docs ends well, in the order of the page. What takes long, or starts something that
// stays, is marked as console.
func TestTheCommandsOfTheDocsRun(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./cmd/pgbarrier")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pages := make(map[string]string)
	for _, b := range docBlocks(t) {
		if b.language == "sh" {
			pages[b.page] += b.text
		}
	}
	if len(pages) == 0 {
		t.Fatalf("%d pages have commands", len(pages))
	}
	for page, script := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			pool := migratedDatabase(t)
			token := committed(t, pool)
			want(t, pool, pgbarrier.Committed, token)
			sh := exec.CommandContext(t.Context(), "sh", "-eux", "-c", script)
			sh.Dir = ".."
			sh.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "DATABASE_URL="+pool.Config().ConnString(), "TOKEN="+token.String())
			if out, err := sh.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
