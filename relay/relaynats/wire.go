package relaynats

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"

	"github.com/pgbarrier/pgbarrier"
)

// A message is a byte with the version of the protocol, a byte with its kind, and the rest, in which numbers are
// unsigned varints. Two kinds are the same in every version, with version 0: hello, by which a client says which
// versions it speaks, and mismatch, by which a relay says that it speaks none of them.
const (
	anyVersion = 0
	version    = 1 // the only one yet

	signedBit = 0x80 // of the first byte: the last bytes are a signature

	// maxMessage bounds a message, whatever NATS would carry: so many tokens in one wait or check, maxTokens, fit.
	maxMessage = 256 << 10
	maxTokens  = 10_000
	tokenSize  = len(uuid.UUID{}) + 9 // at most
)

type kind byte

const (
	kindHello kind = iota + 1
	kindMismatch
	kindGreeting
	kindRequest
	kindAnswers
	kindCheck
	kindChecked
	kindBye
	kindGone
	kindMoved
)

// hello asks who serves a database. It leaves nothing behind at a relay.
type hello struct{ min, max byte } // versions. Also of mismatch

// greeting answers hello.
type greeting struct {
	relay     string        // its id, for the subject
	lease     time.Duration // a session of which the relay has heard nothing for so long is gone
	reluctant bool          // better another relay: it is full, or its database does not answer
}

// request is all that a session asks for. Requests are numbered from 1; one that is missing ends the session.
type request struct {
	number  uint64
	origin  uint32
	ping    bool // an acknowledgement is wanted
	cancels []uint64
	waits   []waitLine
}

type waitLine struct {
	id     uint64
	tokens []pgbarrier.Token
}

// answers are outcomes, an acknowledgement, or both. They are numbered from 1.
type answers struct {
	number   uint64
	echo     uint64 // the last request that the relay had when it learnt the first of the outcomes
	ack      bool   // the next two mean something
	seen     uint64 // the last request that the relay has
	held     uint64 // waits that it has of the session
	unwell   bool   // the database does not answer
	draining bool
	retry    time.Duration // after which what is busy may be asked for again
	lines    []line
}

type line struct {
	id     uint64
	status status
	index  uint64 // which of the wait's tokens
}

// status is a pgbarrier.Status, or busy: the wait was not accepted.
type status byte

const busy status = 0x7f

// check asks once, outside of the order of requests.
type check struct {
	id     uint64
	origin uint32
	tokens []pgbarrier.Token
}

// checked answers check, with a status for each token, or with none: there is no answer.
type checked struct {
	id       uint64
	statuses []pgbarrier.Status
}

func start(v byte, k kind) []byte { return []byte{v, byte(k)} }

func (h hello) encode(k kind) []byte { return append(start(anyVersion, k), h.min, h.max) }

func (g greeting) encode() []byte {
	b := appendFlags(start(version, kindGreeting), g.reluctant)
	b = binary.AppendUvarint(b, uint64(g.lease.Milliseconds()))
	return append(b, g.relay...)
}

func (r request) encode() []byte {
	b := appendFlags(start(version, kindRequest), r.ping)
	b = binary.AppendUvarint(b, r.number)
	b = binary.BigEndian.AppendUint32(b, r.origin)
	b = binary.AppendUvarint(b, uint64(len(r.cancels)))
	for _, id := range r.cancels {
		b = binary.AppendUvarint(b, id)
	}
	b = binary.AppendUvarint(b, uint64(len(r.waits)))
	for _, w := range r.waits {
		b = binary.AppendUvarint(b, w.id)
		b = appendTokens(b, w.tokens)
	}
	return b
}

// size is at least that of w in a request.
func (w waitLine) size() int { return 2*binary.MaxVarintLen64 + len(w.tokens)*tokenSize }

func (a answers) encode() []byte {
	b := appendFlags(start(version, kindAnswers), a.ack, a.unwell, a.draining)
	for _, n := range []uint64{a.number, a.echo, a.seen, a.held, uint64(a.retry.Milliseconds()), uint64(len(a.lines))} {
		b = binary.AppendUvarint(b, n)
	}
	for _, l := range a.lines {
		b = binary.AppendUvarint(b, l.id)
		b = binary.AppendUvarint(append(b, byte(l.status)), l.index)
	}
	return b
}

func (c check) encode() []byte {
	b := binary.AppendUvarint(start(version, kindCheck), c.id)
	return appendTokens(binary.BigEndian.AppendUint32(b, c.origin), c.tokens)
}

func (c checked) encode() []byte {
	b := binary.AppendUvarint(start(version, kindChecked), c.id)
	b = binary.AppendUvarint(b, uint64(len(c.statuses)))
	for _, s := range c.statuses {
		b = append(b, byte(s))
	}
	return b
}

func appendFlags(b []byte, flags ...bool) []byte {
	set := byte(0)
	for i, flag := range flags {
		if flag {
			set |= 1 << i
		}
	}
	return append(b, set)
}

// appendTokens leaves out the origin, which is the same for all.
func appendTokens(b []byte, tokens []pgbarrier.Token) []byte {
	b = binary.AppendUvarint(b, uint64(len(tokens)))
	for _, t := range tokens {
		b = binary.AppendUvarint(append(b, t.ID[:]...), t.XID)
	}
	return b
}
