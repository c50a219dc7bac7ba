//go:build unix

package devpg

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		child() // does not return
	}
	goleak.VerifyTestMain(m)
}
