package integration_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// docs/api.txt is what users can call. A change of it is a decision: see it in the diff, and in CHANGELOG.md.
func TestTheExportedAPIIsTheOneThatIsListed(t *testing.T) {
	t.Parallel()
	var listed bytes.Buffer
	err := filepath.WalkDir("..", func(dir string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		switch name := entry.Name(); {
		case name == "internal", name == "testdata", name == "example", name == "integration_test", name == "bench", name != ".." && strings.HasPrefix(name, "."):
			return filepath.SkipDir
		}
		return listExported(&listed, dir)
	})
	if err != nil {
		t.Fatal(err)
	}
	const file = "../docs/api.txt"
	if *update {
		if err := os.WriteFile(file, listed.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(want, listed.Bytes()) {
		t.Errorf("docs/api.txt is not what the packages export (%v): if it was meant, run\n\tgo test ./integration_test -run TestTheExportedAPI -update", err)
	}
}

// listExported writes the exported declarations of the package in dir, without comments and bodies, if there are any.
func listExported(out *bytes.Buffer, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	set := token.NewFileSet()
	var declarations []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if file.Name.Name == "main" {
			return nil
		}
		if !ast.FileExports(file) {
			continue
		}
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil && !ast.IsExported(receiver(d.Recv.List[0].Type)) {
					continue
				}
				d.Body = nil
			case *ast.GenDecl:
				if d.Tok == token.IMPORT {
					continue
				}
				for _, spec := range d.Specs {
					if variable, is := spec.(*ast.ValueSpec); is && d.Tok == token.VAR {
						variable.Values = nil
					}
				}
			}
			var text bytes.Buffer
			if err := format.Node(&text, set, declaration); err != nil {
				return err
			}
			declarations = append(declarations, withoutBlankLines(text.String()))
		}
	}
	if len(declarations) > 0 {
		slices.Sort(declarations)
		fmt.Fprintf(out, "# %s\n\n%s\n", filepath.ToSlash(dir)[1:], strings.Join(declarations, ""))
	}
	return nil
}

func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

func withoutBlankLines(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text + "\n") {
		if strings.TrimSpace(line) != "" {
			out.WriteString(line)
		}
	}
	return out.String()
}
