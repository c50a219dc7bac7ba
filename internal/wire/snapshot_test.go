package wire

import "testing"

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
