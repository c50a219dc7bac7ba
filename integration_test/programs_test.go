package integration_test

import (
	"os"
	"os/exec"
	"testing"
)

// needs returns the program's path. Where it is not installed the test is skipped, but not in CI,
// where .ci/run installs it.
func needs(t *testing.T, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program) // not in everybody's PATH
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed, and in CI it must be: apt-get install %s", program, debianPackage)
		}
		t.Skipf("NOT TESTED: %s is not installed: apt-get install %s", program, debianPackage)
	}
	return path
}
