package listener

import (
	"slices"
	"strconv"

	"github.com/pgbarrier/pgbarrier"
)

// snapshot is pg_current_snapshot. Its xmax is one past the greatest xid that has ended
// (GetSnapshotData, storage/ipc/procarray.c), so a running xid may be at xmax or above, and is not
// in the list then.
func (d *simDatabase) snapshot() pgbarrier.Snapshot {
	xmax := d.completed + 1
	xmin := xmax
	var xip []byte
	for _, tx := range d.running {
		if tx.xid < xmax {
			xmin = min(xmin, tx.xid)
			if xip != nil {
				xip = append(xip, ',')
			}
			xip = strconv.AppendUint(xip, tx.xid, 10)
		}
	}
	text := strconv.AppendUint(nil, xmin, 10)
	text = append(text, ':')
	text = strconv.AppendUint(text, xmax, 10)
	text = append(append(text, ':'), xip...)
	snapshot, err := pgbarrier.ParseSnapshot(string(text))
	if err != nil {
		panic(err)
	}
	return snapshot
}

// inProgress is NOT pg_visible_in_snapshot(xid, pg_current_snapshot()).
func (d *simDatabase) inProgress(xid uint64) bool {
	if xid > d.completed {
		return true
	}
	tx := d.holder[xid]
	return tx != nil && tx.state <= txFlushed
}

// status is what pgbarrier.check in sql/triggers.sql answers about one token.
func (d *simDatabase) status(t pgbarrier.Token) pgbarrier.Status {
	if t.Origin != simOrigin {
		return pgbarrier.WrongDatabase
	}
	if row := d.rows[t.ID]; row != nil {
		if row.token.XID == t.XID {
			return pgbarrier.Committed
		}
		return pgbarrier.Invalid
	}
	if d.inProgress(t.XID) {
		if t.XID >= d.next {
			return pgbarrier.Aborted // never assigned: a crash took it
		}
		return pgbarrier.Pending
	}
	if slices.Compare(t.ID[:], d.horizon[:]) > 0 {
		return pgbarrier.Aborted
	}
	if tx := d.holder[t.XID]; tx != nil && tx.state == txAborted {
		return pgbarrier.Aborted // pg_xact_status
	}
	return pgbarrier.Expired
}

func (d *simDatabase) judge(tokens []pgbarrier.Token) pgbarrier.Judgement {
	j := pgbarrier.Judgement{Origin: simOrigin, Snapshot: d.snapshot(), Statuses: make([]pgbarrier.Status, len(tokens))}
	for i, t := range tokens {
		j.Statuses[i] = d.status(t)
	}
	return j
}
