package pgbarrier_test

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

// Migrate takes a schema with the file's revision for one that this very file has made. So the revision has
// to change with the file.
func TestTheSchemaFilesRevisionIsItsOwn(t *testing.T) {
	line := regexp.MustCompile(`(?m)^\s*revision CONSTANT text := '([0-9a-f]*)';\n`)
	found := line.FindStringSubmatch(pgbarrier.SQL)
	if found == nil {
		t.Fatal("sql/triggers.sql has no revision")
	}
	sum := sha256.Sum256([]byte(strings.Replace(pgbarrier.SQL, found[0], "", 1)))
	if revision := fmt.Sprintf("%x", sum)[:len("000000000000")]; found[1] != revision {
		t.Errorf("sql/triggers.sql was changed: its revision is %q and has to be %q", found[1], revision)
	}
}
