package listener

import (
	"strconv"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// snapshot is pg_current_snapshot. Its xmax is one past the greatest xid that has ended
// (GetSnapshotData, storage/ipc/procarray.c), so a running xid may be at xmax or above, and is not
// in the list then.
func (d *simDatabase) snapshot() wire.Snapshot {
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
	return snapshot(string(text))
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
	if t.XID > d.horizon {
		return pgbarrier.Aborted
	}
	if tx := d.holder[t.XID]; tx != nil && tx.state == txAborted {
		return pgbarrier.Aborted // pg_xact_status
	}
	return pgbarrier.Expired
}

func (d *simDatabase) check(tokens []pgbarrier.Token) wire.Answer {
	a := wire.Answer{Origin: simOrigin, Snapshot: d.snapshot(), Outcomes: make([]wire.Outcome, len(tokens))}
	for i, t := range tokens {
		a.Outcomes[i] = wire.Outcome(d.status(t))
	}
	return a
}
