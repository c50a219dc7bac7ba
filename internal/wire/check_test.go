package wire

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestAnAnswerIsReadLetterByLetter(t *testing.T) {
	got, err := decode("0a1b2c3d", "10:20:", "PCAEI", 5)
	want := []Outcome{Pending, Committed, Aborted, Expired, Invalid}
	if err != nil || !slices.Equal(got.Outcomes, want) || got.Origin != 0x0a1b2c3d || got.Snapshot.Xmax != 20 {
		t.Errorf("read as %+v, %v", got, err)
	}
}

// An answer that is not understood has no outcome: neither a short one nor an unknown letter may be
// taken for Pending or Aborted.
func TestAnAnswerThatIsNotUnderstoodIsAnError(t *testing.T) {
	for name, test := range map[string]struct {
		origin, snapshot, outcomes string
		notMigrated                bool
	}{
		"short":            {"0a1b2c3d", "1:2:", "C", false},
		"long":             {"0a1b2c3d", "1:2:", "CCC", false},
		"unknown letter":   {"0a1b2c3d", "1:2:", "CX", false},
		"lower case":       {"0a1b2c3d", "1:2:", "cc", false},
		"no snapshot":      {"0a1b2c3d", "", "CC", false},
		"no origin":        {"", "1:2:", "CC", true},
		"origin too short": {"0a1b", "1:2:", "CC", true},
		"origin too long":  {"0a1b2c3d4", "1:2:", "CC", true},
		"origin not hex":   {"0a1b2c3x", "1:2:", "CC", true},
	} {
		got, err := decode(test.origin, test.snapshot, test.outcomes, 2)
		if err == nil || errors.Is(err, ErrNotMigrated) != test.notMigrated {
			t.Errorf("%s: read as %+v, %v", name, got, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("0a1b2c3d", "10:20:", "PCAEI", 5)
	f.Add("", "", "", 0)
	f.Add("0a1b2c3d", "10:20:", "PC", 3)
	f.Fuzz(func(t *testing.T, origin, snapshot, outcomes string, tokens int) {
		got, err := decode(origin, snapshot, outcomes, tokens)
		if err != nil {
			return
		}
		if len(got.Outcomes) != tokens || len(outcomes) != tokens || len(origin) != 8 {
			t.Fatalf("%q %q %q about %d tokens was read as %+v", origin, snapshot, outcomes, tokens, got)
		}
		for i, s := range got.Outcomes {
			if !strings.ContainsRune("PCAEI", rune(outcomes[i])) || letters[outcomes[i]] != s {
				t.Fatalf("%q at %d was read as %v", outcomes, i, s)
			}
		}
	})
}

func TestAVersionThatDoesNotFitIsErrNotMigrated(t *testing.T) {
	if err := RequireVersion(SchemaVersion); err != nil {
		t.Error(err)
	}
	for version, say := range map[int]string{SchemaVersion + 1: "upgrade the library", SchemaVersion - 1: "version 1"} {
		if err := RequireVersion(version); !errors.Is(err, ErrNotMigrated) || !strings.Contains(err.Error(), say) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}
