package main

import (
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// An ending is a way in which a transaction ends.
type ending int

const (
	commits ending = iota
	rollsBack
	fails
	terminatedBefore
	terminatedDuring
	cutBefore
	cutDuring
	preparedCommits
	preparedRollsBack
	preparedLater
)

var endings = [...]struct {
	name   string
	weight int
}{
	commits:           {"COMMIT", 60},
	rollsBack:         {"ROLLBACK", 11},
	fails:             {"a statement fails, then COMMIT", 4},
	terminatedBefore:  {"backend terminated before COMMIT", 3},
	terminatedDuring:  {"backend terminated during COMMIT", 3},
	cutBefore:         {"connection cut before COMMIT", 3},
	cutDuring:         {"connection cut during COMMIT", 5},
	preparedCommits:   {"PREPARE TRANSACTION, COMMIT PREPARED", 5},
	preparedRollsBack: {"PREPARE TRANSACTION, ROLLBACK PREPARED", 4},
	preparedLater:     {"PREPARE TRANSACTION, left for a while, then either", 2},
}

func (e ending) prepares() bool      { return e >= preparedCommits }
func (e ending) breaksSession() bool { return terminatedBefore <= e && e <= cutDuring }

// A plan is all that is decided about a transaction, before it begins and by the seed alone.
type plan struct {
	ending    ending
	async     bool // synchronous_commit=off
	isolation pgx.TxIsoLevel
	quiet     bool // announcing is off
	timeouts  timeouts
	groups    []group
	think     time.Duration // between the last barrier and the end
	timing    time.Duration // of what happens during COMMIT
	later     time.Duration // for how long it stays prepared
	keep      bool          // whether it is then committed
	messages  []message
}

// timeouts are a producer's settings, by kind; 0: it has none.
type timeouts [len(timeoutKinds)]time.Duration

const (
	lockTimeout = iota
	statementTimeout
	transactionTimeout
)

var timeoutKinds = [...]struct {
	name  string
	since int // the major version that knows it
}{
	lockTimeout:        {"lock_timeout", 14},
	statementTimeout:   {"statement_timeout", 14},
	transactionTimeout: {"transaction_timeout", 17},
}

// drawTimeouts draws short ones for locks, of which a COMMIT needs none, and others that are longer than all
// that a producer does by itself.
func drawTimeouts(r *rand.Rand) (t timeouts) {
	if chance(r, 0.2) {
		t[lockTimeout] = []time.Duration{1, 10, 100, 1000}[r.IntN(4)] * time.Millisecond
	}
	if chance(r, 0.4) {
		t[statementTimeout] = time.Second + upTo(r, 5*time.Second)
	}
	if chance(r, 0.2) {
		t[transactionTimeout] = 2*time.Second + upTo(r, 6*time.Second)
	}
	return t
}

// A group is barriers created together: of the transaction itself, or of a savepoint.
type group struct {
	barriers  int
	savepoint bool
	lost      bool // the savepoint is rolled back
	one       bool // one statement for each barrier, by notify.Create
}

// A message carries tokens to a worker.
type message struct {
	from, to    int           // which of the transaction's barriers
	before      bool          // sent before the transaction ends
	previous    bool          // also carries a token of the producer's last transaction
	listener    int           // as random as the seed makes it; take the remainder
	cancelAfter time.Duration // the first wait is canceled; 0: it is not
	elsewhere   bool          // whoever waits again does it on another listener
	again       time.Duration // delivered again so long after its outcome; 0: it is not
	late        time.Duration // and once more when it is older than the retention by this
	read        bool          // what is committed is read at once
}

// random is a source for one purpose of a run: what one draws does not depend on the others.
func random(seed uint64, purpose, number int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(purpose)<<40|uint64(number)))
}

func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }

// upTo is a duration below d.
func upTo(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }

func drawPlan(r *rand.Rand, o options) plan {
	p := plan{
		ending: drawEnding(r),
		async:  chance(r, o.async),
		quiet:  chance(r, 0.05),
		timing: upTo(r, 2*time.Millisecond),
		later:  time.Second + upTo(r, 7*time.Second),
		keep:   chance(r, 0.5),
	}
	if chance(r, 0.3) {
		p.think = upTo(r, 20*time.Millisecond)
	}
	switch r.IntN(20) {
	case 0:
		p.isolation = pgx.RepeatableRead
	case 1:
		p.isolation = pgx.Serializable
	}
	p.timeouts = drawTimeouts(r)
	total := 0
	for range 1 + r.IntN(3)*r.IntN(2) {
		g := group{barriers: 1 + r.IntN(2), savepoint: chance(r, 0.3), one: chance(r, 0.15)}
		switch {
		case chance(r, 0.01):
			g.barriers, g.one = 100+r.IntN(300), false
		case chance(r, 0.03):
			g.barriers = 3 + r.IntN(20)
		}
		g.lost = g.savepoint && chance(r, 0.5)
		p.groups = append(p.groups, g)
		total += g.barriers
	}
	p.messages = drawMessages(r, total)
	return p
}

func drawEnding(r *rand.Rand) ending {
	sum := 0
	for _, e := range endings {
		sum += e.weight
	}
	n := r.IntN(sum)
	for i, e := range endings {
		if n -= e.weight; n < 0 {
			return ending(i)
		}
	}
	panic("unreachable")
}

// drawMessages spreads a transaction's barriers over messages, and sends some of them twice.
func drawMessages(r *rand.Rand, total int) []message {
	most := []int{1, 1, 3, 50}[r.IntN(4)]
	if total > 50 {
		most = 50
	}
	var messages []message
	for from := 0; from < total; {
		m := message{
			from:      from,
			to:        min(total, from+1+r.IntN(most)),
			before:    chance(r, 0.6),
			previous:  chance(r, 0.1),
			listener:  r.IntN(1 << 20),
			elsewhere: chance(r, 0.5),
			read:      chance(r, 0.1),
		}
		if chance(r, 0.1) {
			m.cancelAfter = 1 + upTo(r, 20*time.Millisecond)
		}
		if chance(r, 0.1) {
			m.again = 1 + upTo(r, 2*time.Second)
		}
		if chance(r, 0.01) {
			m.late = 1 + upTo(r, 5*time.Second)
		}
		messages = append(messages, m)
		if chance(r, 0.15) { // to another worker too
			m.listener, m.read = m.listener+1, false
			messages = append(messages, m)
		}
		from = m.to
	}
	return messages
}
