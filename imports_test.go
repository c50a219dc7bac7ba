package pgbarrier_test

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/pgbarrier/pgbarrier"

// Who may import whom: the core packages import the root and internal/, never each other.
func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	core := map[string]bool{"": true, "notify": true, "listener": true}
	for file, imports := range importsOfAllFiles(t) {
		dir := path.Dir(file)
		if dir == "." {
			dir = ""
		}
		test := strings.HasSuffix(file, "_test.go")
		for _, imported := range imports {
			ours, ok := strings.CutPrefix(imported+"/", module+"/")
			if !ok {
				continue
			}
			ours = strings.TrimSuffix(ours, "/")
			switch {
			case strings.HasPrefix(ours, "integration_test/internal/") && strings.HasPrefix(dir+"/", "integration_test/"):
			case strings.HasPrefix(ours+"/", "integration_test/"):
				t.Errorf("%s imports integration_test", file)
			case core[dir] && (ours == "" || ours == "internal/wire"):
			case core[dir] && test && ours == dir: // an external test of its own package
			case core[dir] && strings.HasPrefix(ours, "internal/"):
			case core[dir]:
				t.Errorf("%s imports %s: notify and listener import the root, never each other, the root neither", file, imported)
			}
		}
	}
}

// A user's go.sum and scanner see pgx, pgxlisten, uuid and what they need, nothing else.
func TestTheCoreModuleRequiresOnlyPgxPgxlistenAndUUID(t *testing.T) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Module  struct{ Path string }
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace, Exclude []any
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	var direct []string
	for _, r := range mod.Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
		}
	}
	slices.Sort(direct)
	if want := []string{"github.com/google/uuid", "github.com/jackc/pgx/v5", "github.com/jackc/pgxlisten"}; !slices.Equal(direct, want) {
		t.Errorf("the core module requires %v, want %v", direct, want)
	}
	if mod.Module.Path != module || mod.Replace != nil || mod.Exclude != nil {
		t.Errorf("go.mod is %s", out)
	}
}

// An import that go.mod lists as indirect would still be an import.
func TestTheCorePackagesImportOnlyTheStandardLibraryPgxPgxlistenAndUUID(t *testing.T) {
	for file, imports := range importsOfAllFiles(t) {
		dir, _, _ := strings.Cut(file, "/")
		if strings.Contains(file, "/") && dir != "notify" && dir != "listener" && dir != "internal" {
			continue
		}
		for _, imported := range imports {
			host, _, _ := strings.Cut(imported, "/")
			if strings.Contains(host, ".") && !strings.HasPrefix(imported, module) &&
				!strings.HasPrefix(imported, "github.com/jackc/pgx/v5") && imported != "github.com/google/uuid" &&
				(imported != "github.com/jackc/pgxlisten" || dir != "listener") {
				t.Errorf("%s imports %s", file, imported)
			}
		}
	}
}

// importsOfAllFiles reads the files, not `go list`, so that nested modules and files under build
// constraints are seen too.
func importsOfAllFiles(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		files[name] = nil
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			files[name] = append(files[name], imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files["token.go"]) == 0 || len(files["notify/create.go"]) == 0 {
		t.Fatalf("found no imports in the core packages, only %v", slices.Sorted(maps.Keys(files)))
	}
	return files
}
