package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// Snapshot is a pg_snapshot: which transactions were running at one moment.
// https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
type Snapshot struct {
	Xmin uint64 // every transaction below has ended
	Xmax uint64 // none from here on had ended
	xip  map[uint64]struct{}
	text string
}

// ParseSnapshot reads the text form, xmin:xmax:xip,xip,…
func ParseSnapshot(s string) (Snapshot, error) {
	snap := Snapshot{text: s}
	bad := fmt.Errorf("the server answered with %.40q, which is not a snapshot", s)
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return Snapshot{}, bad
	}
	var err error
	if snap.Xmin, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return Snapshot{}, bad
	}
	if snap.Xmax, err = strconv.ParseUint(parts[1], 10, 64); err != nil || snap.Xmax < snap.Xmin {
		return Snapshot{}, bad
	}
	if parts[2] == "" {
		return snap, nil
	}
	running := strings.Split(parts[2], ",")
	snap.xip = make(map[uint64]struct{}, len(running))
	for _, r := range running {
		xid, err := strconv.ParseUint(r, 10, 64)
		if err != nil || xid < snap.Xmin || xid >= snap.Xmax {
			return Snapshot{}, bad
		}
		snap.xip[xid] = struct{}{}
	}
	return snap, nil
}

// Running reports whether xid was certainly running. False means that it had ended, or that the
// snapshot cannot tell: from Xmax on a transaction may be running, not have begun, or have been lost
// in a crash.
func (s Snapshot) Running(xid uint64) bool {
	_, running := s.xip[xid]
	return running
}

// Ended reports whether xid had certainly ended.
func (s Snapshot) Ended(xid uint64) bool { return xid < s.Xmax && !s.Running(xid) }

// String returns the text form.
func (s Snapshot) String() string { return s.text }
