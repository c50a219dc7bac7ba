package pgbarrier

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestASnapshotTellsWhoWasRunning(t *testing.T) {
	snap, err := ParseSnapshot("10:20:10,12,19")
	if err != nil {
		t.Fatal(err)
	}
	if snap.Xmin != 10 || snap.Xmax != 20 || snap.String() != "10:20:10,12,19" {
		t.Errorf("read as %+v", snap)
	}
	for xid, running := range map[uint64]bool{9: false, 10: true, 11: false, 12: true, 19: true, 20: false, 21: false} {
		if snap.Running(xid) != running {
			t.Errorf("Running(%d) = %v", xid, !running)
		}
	}
	for _, bad := range []string{"", ":", "::", "1:2", "1:2:3:4", "2:1:", "x:2:", "1:x:", "1:2:x", "1:2:2", "1:2:0",
		"1:3:1,", "1:3:,1", "-1:3:", "1:3:+1", "1:18446744073709551616:"} {
		if snap, err := ParseSnapshot(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, snap)
		}
	}
}

func FuzzParseSnapshot(f *testing.F) {
	for _, s := range []string{"10:20:10,12,19", "10:10:", "", "1:2", "2:1:", "1:18446744073709551615:3"} {
		f.Add(s, uint64(12))
	}
	f.Fuzz(func(t *testing.T, s string, xid uint64) {
		snap, err := ParseSnapshot(s)
		if err != nil {
			return
		}
		if snap.String() != s || snap.Xmin > snap.Xmax {
			t.Fatalf("%q was read as %+v", s, snap)
		}
		if snap.Running(xid) && (xid < snap.Xmin || xid >= snap.Xmax) {
			t.Fatalf("%q: %d is running outside of it", s, xid)
		}
	})
}

func TestAnAnswerIsReadLetterByLetter(t *testing.T) {
	got, err := decodeJudgement("0a1b2c3d", "10:20:", "PCAEWI", 6)
	want := []Status{Pending, Committed, Aborted, Expired, WrongDatabase, Invalid}
	if err != nil || !slices.Equal(got.Statuses, want) || got.Origin != 0x0a1b2c3d || got.Snapshot.Xmax != 20 {
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
		got, err := decodeJudgement(test.origin, test.snapshot, test.outcomes, 2)
		if err == nil || errors.Is(err, ErrNotMigrated) != test.notMigrated {
			t.Errorf("%s: read as %+v, %v", name, got, err)
		}
	}
}

func FuzzDecodeJudgement(f *testing.F) {
	f.Add("0a1b2c3d", "10:20:", "PCAEWI", 6)
	f.Add("", "", "", 0)
	f.Add("0a1b2c3d", "10:20:", "PC", 3)
	f.Fuzz(func(t *testing.T, origin, snapshot, outcomes string, tokens int) {
		got, err := decodeJudgement(origin, snapshot, outcomes, tokens)
		if err != nil {
			return
		}
		if len(got.Statuses) != tokens || len(outcomes) != tokens || len(origin) != 8 {
			t.Fatalf("%q %q %q about %d tokens was read as %+v", origin, snapshot, outcomes, tokens, got)
		}
		for i, s := range got.Statuses {
			if statuses[s].letter != outcomes[i] {
				t.Fatalf("%q at %d was read as %v", outcomes, i, s)
			}
		}
	})
}

func TestAVersionThatDoesNotFitIsErrNotMigrated(t *testing.T) {
	if err := requireVersion(schemaVersion); err != nil {
		t.Error(err)
	}
	for version, say := range map[int]string{schemaVersion + 1: "upgrade the library", schemaVersion - 1: "version 0"} {
		if err := requireVersion(version); !errors.Is(err, ErrNotMigrated) || !strings.Contains(err.Error(), say) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}
