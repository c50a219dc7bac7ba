package listener

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/pgbarrier/pgbarrier"
)

// A simDatabase is what PostgreSQL does with transactions, as far as a check can see it: xids, commit
// records and their flush, crashes that lose what was not flushed and hand out its xids again, row
// visibility and purging. Only the simulation's goroutine uses it.
type simDatabase struct {
	rng       *rand.Rand
	next      uint64            // xid to be handed out
	completed uint64            // latestCompletedXid: the greatest that has ended
	flushed   uint64            // no xid up to here is handed out again after a crash
	running   []*simTransaction // in the order of their xids; also prepared and committing ones
	unflushed []*simTransaction // committed asynchronously, visible, not yet durable
	holder    map[uint64]*simTransaction
	rows      map[uuid.UUID]*simBarrier // visible
	horizon   uint64                    // transactions up to here may have had barriers that were purged
	announcer *simTransaction           // holds the announcing lock
	shared    bool                      // the listener does, in SHARE mode
	heldUp    bool                      // another database's COMMIT holds the lock of NOTIFY
	lives     int                       // how often it has been started
}

type txState uint8

const (
	txRunning  txState = iota
	txPrepared         // survives a crash
	txFlushing         // COMMIT was sent, its record may not be durable
	txFlushed          // durable, not yet visible
	txCommitted
	txAborted // rolled back, or its commit was lost in a crash
)

type simTransaction struct {
	xid      uint64
	state    txState
	async    bool // synchronous_commit=off
	quiet    bool // announcing is off, as PREPARE TRANSACTION requires
	stays    bool // runs until the end of the schedule
	barriers []*simBarrier
	told     []*simBarrier // announced when the commit is visible
}

// A simBarrier is a token and the truth about it.
type simBarrier struct {
	number     uint64
	token      pgbarrier.Token
	tx         *simTransaction // nil if forged or of another database
	rolledBack bool            // to a savepoint
	seen       bool            // it was visible once
	seenAt     time.Time       // since when
	lostIn     int             // the life whose end lost it after it was seen; 0: not lost
	lostAt     time.Time
	purged     bool
	announced  bool // and heard
	judged
}

const simOrigin = 1

func newSimDatabase(rng *rand.Rand) *simDatabase {
	return &simDatabase{rng: rng, next: 1000, completed: 999, flushed: 999, lives: 1,
		holder: make(map[uint64]*simTransaction), rows: make(map[uuid.UUID]*simBarrier)}
}

func (d *simDatabase) begin() *simTransaction {
	tx := &simTransaction{xid: d.next}
	d.next++
	d.holder[tx.xid] = tx
	d.running = append(d.running, tx)
	return tx
}

// newToken returns the token of a barrier that is created now by the transaction xid.
func (d *simDatabase) newToken(xid uint64, origin uint32) pgbarrier.Token {
	t := pgbarrier.Token{XID: xid, Origin: origin}
	binary.BigEndian.PutUint64(t.ID[:8], uint64(time.Now().UnixMilli())<<16|0x7000|d.rng.Uint64()&0xfff)
	binary.BigEndian.PutUint64(t.ID[8:], 1<<63|d.rng.Uint64()>>2)
	return t
}

func (d *simDatabase) create(tx *simTransaction) *simBarrier {
	b := &simBarrier{token: d.newToken(tx.xid, simOrigin), tx: tx}
	tx.barriers = append(tx.barriers, b)
	return b
}

// precommit is the deferred trigger: whoever gets the lock announces, the others ride along.
func (d *simDatabase) precommit(tx *simTransaction) {
	tx.state = txFlushing
	if d.announcer == nil && !d.shared && !d.heldUp && !tx.quiet {
		d.announcer = tx
		for _, b := range tx.barriers {
			if !b.rolledBack {
				tx.told = append(tx.told, b)
			}
		}
	}
}

// flush makes all that has been logged durable, whoever waits for it.
func (d *simDatabase) flush() {
	d.flushed = d.next - 1
	d.unflushed = d.unflushed[:0]
}

// finish ends tx. A committed one is visible from now on, to every new snapshot.
func (d *simDatabase) finish(tx *simTransaction, state txState) {
	durable := tx.state == txFlushed || tx.state == txPrepared
	tx.state = state
	d.running = slices.DeleteFunc(d.running, func(other *simTransaction) bool { return other == tx })
	d.completed = max(d.completed, tx.xid)
	if d.announcer == tx {
		d.announcer = nil
	}
	if state != txCommitted {
		return
	}
	if !durable {
		d.unflushed = append(d.unflushed, tx)
	}
	for _, b := range tx.barriers {
		if !b.rolledBack {
			b.seen, b.seenAt = true, time.Now()
			d.rows[b.token.ID] = b
		}
	}
}

// restart is a crash and its recovery, or without one (fast) a shutdown that flushes.
func (d *simDatabase) restart(crash bool) {
	if !crash {
		d.flush()
	}
	for _, tx := range d.unflushed {
		tx.state = txAborted
		for _, b := range tx.barriers {
			if !b.rolledBack {
				b.lostIn, b.lostAt = d.lives, time.Now()
				delete(d.rows, b.token.ID)
			}
		}
	}
	d.unflushed = d.unflushed[:0]
	for _, tx := range slices.Clone(d.running) {
		switch tx.state {
		case txPrepared:
		case txFlushed:
			d.finish(tx, txCommitted)
		default:
			d.finish(tx, txAborted)
		}
	}
	for xid := d.flushed + 1; xid < d.next; xid++ {
		delete(d.holder, xid)
	}
	d.next = d.flushed + 1
	d.completed = d.flushed
	d.announcer, d.shared, d.heldUp = nil, false, false
	d.lives++
}

// purge deletes visible barriers that were created before then, and moves the horizon with them.
func (d *simDatabase) purge(before time.Time) {
	limit := uint64(before.UnixMilli())
	for id, b := range d.rows {
		if binary.BigEndian.Uint64(id[:8])>>16 < limit {
			b.purged = true
			delete(d.rows, id)
			d.horizon = max(d.horizon, b.token.XID)
		}
	}
	tx := d.begin()
	d.flush()
	tx.state = txFlushed
	d.finish(tx, txCommitted)
}
