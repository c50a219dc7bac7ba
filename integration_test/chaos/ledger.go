package main

import (
	"sync"
	"sync/atomic"

	"github.com/pgbarrier/pgbarrier"
)

// A transaction is one that a producer ran, with what came of it. Once verified it is forgotten.
type transaction struct {
	producer, number int
	plan             plan
	began            moment

	mu       sync.Mutex // guards all below
	barriers []*barrier
	ended    moment // when its producer was done with it
	told     told
	working  int // messages about it that are being worked on
	verified bool
}

// A barrier has a key by which its row in the application's table is found.
type barrier struct {
	tx       *transaction
	key      int64
	token    pgbarrier.Token
	outcomes []outcome // guarded by tx.mu
}

// told is what the producer knows about its transaction's end.
type told uint8

const (
	toldNothing told = iota
	toldCommitted
	toldAborted
)

// An outcome is what one wait told about one barrier.
type outcome struct {
	slot         int // of the listener
	began, ended moment
	status       pgbarrier.Status
}

// A wait is one that is open.
type wait struct {
	slot     int
	began    moment
	barriers []*barrier
}

// A ledger knows every transaction until it is verified, and every open wait.
type ledger struct {
	lastKey atomic.Int64 // of a barrier
	made    atomic.Int64 // barriers

	mu    sync.Mutex
	txs   []*transaction
	waits map[*wait]struct{}
}

// keys reserves n keys and returns the first.
func (l *ledger) keys(n int) int64 { return l.lastKey.Add(int64(n)) - int64(n) + 1 }

// enter takes a transaction whose barriers are made.
func (l *ledger) enter(tx *transaction) {
	l.made.Add(int64(len(tx.barriers)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.txs = append(l.txs, tx)
}

func (l *ledger) open(w *wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits == nil {
		l.waits = make(map[*wait]struct{})
	}
	l.waits[w] = struct{}{}
}

func (l *ledger) close(w *wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waits, w)
}

func (l *ledger) openWaits() []*wait {
	l.mu.Lock()
	defer l.mu.Unlock()
	waits := make([]*wait, 0, len(l.waits))
	for w := range l.waits {
		waits = append(waits, w)
	}
	return waits
}

// recent returns the last transactions, at most n.
func (l *ledger) recent(n int) []*transaction {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*transaction(nil), l.txs[max(0, len(l.txs)-n):]...)
}

// settled takes out the transactions that ended before the moment, that nobody works on, and that no
// crash can take back any more; or all that have ended.
func (l *ledger) settled(before moment, all bool) []*transaction {
	l.mu.Lock()
	defer l.mu.Unlock()
	var settled []*transaction
	kept := l.txs[:0]
	for _, tx := range l.txs {
		tx.mu.Lock()
		tx.verified = all || tx.ended != 0 && tx.ended < before && tx.working == 0 && !tx.plan.async
		if tx.verified {
			settled = append(settled, tx)
		} else {
			kept = append(kept, tx)
		}
		tx.mu.Unlock()
	}
	clear(l.txs[len(kept):])
	l.txs = kept
	return settled
}

// hold keeps tx from being verified until release. It is false if it has been already.
func (tx *transaction) hold() bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.verified {
		return false
	}
	tx.working++
	return true
}

func (tx *transaction) release() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.working--
}

func (tx *transaction) end(now moment, what told) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.ended, tx.told = now, what
}

// endedAt returns zero while the transaction may be running.
func (tx *transaction) endedAt() moment {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.ended
}

func (b *barrier) add(o outcome) {
	b.tx.mu.Lock()
	defer b.tx.mu.Unlock()
	b.outcomes = append(b.outcomes, o)
}
