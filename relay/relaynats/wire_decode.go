package relaynats

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

var errMalformed = errors.New("malformed message")

// A decoder reads a message from its start. What is read after its end, or is more than can be there, is zero, and bad.
type decoder struct {
	rest []byte
	bad  bool
}

// open returns what a message is, and a decoder of the rest.
func open(data []byte) (v byte, k kind, d *decoder) {
	d = &decoder{rest: data}
	return d.byte(), kind(d.byte()), d
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.rest) {
		d.bad, d.rest = true, nil
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte { return d.bytes(1)[0] }

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// count reads how many elements follow, each of at least size bytes.
func (d *decoder) count(size int) int {
	n := d.number()
	if n > uint64(len(d.rest)/size) {
		d.bad, d.rest = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) origin() uint32 { return binary.BigEndian.Uint32(d.bytes(4)) }

func (d *decoder) milliseconds() time.Duration {
	return time.Duration(min(d.number(), uint64(24*time.Hour/time.Millisecond))) * time.Millisecond
}

func (d *decoder) tokens(origin uint32) []pgbarrier.Token {
	tokens := make([]pgbarrier.Token, d.count(17))
	for i := range tokens {
		t := pgbarrier.Token{Origin: origin}
		copy(t.ID[:], d.bytes(16))
		t.XID = d.number()
		tokens[i] = t
	}
	return tokens
}

// end returns an error unless all was there, and nothing else.
func (d *decoder) end() error {
	if d.bad || len(d.rest) > 0 {
		return errMalformed
	}
	return nil
}

func (h *hello) decode(d *decoder) error {
	h.min, h.max = d.byte(), d.byte()
	if d.bad { // a later version may say more
		return errMalformed
	}
	return nil
}

func (g *greeting) decode(d *decoder) error {
	g.reluctant = d.byte()&1 != 0
	g.lease = d.milliseconds()
	g.relay = string(d.rest)
	if d.bad || g.lease < minLease || !isToken(g.relay) {
		return errMalformed
	}
	return nil
}

func (r *request) decode(d *decoder) error {
	r.ping = d.byte()&1 != 0
	r.number = d.number()
	r.origin = d.origin()
	for range d.count(1) {
		r.cancels = append(r.cancels, d.number())
	}
	n := d.count(2)
	r.waits = make([]waitLine, 0, n)
	for range n {
		r.waits = append(r.waits, waitLine{d.number(), d.tokens(r.origin)})
	}
	return d.end()
}

func (a *answers) decode(d *decoder) error {
	flags := d.byte()
	a.ack, a.unwell, a.draining = flags&1 != 0, flags&2 != 0, flags&4 != 0
	a.number, a.echo, a.seen, a.held = d.number(), d.number(), d.number(), d.number()
	a.retry = d.milliseconds()
	n := d.count(3)
	a.lines = make([]line, 0, n)
	for range n {
		a.lines = append(a.lines, line{d.number(), status(d.byte()), d.number()})
	}
	return d.end()
}

func (c *check) decode(d *decoder) error {
	c.id, c.origin = d.number(), d.origin()
	c.tokens = d.tokens(c.origin)
	return d.end()
}

func (c *checked) decode(d *decoder) error {
	c.id = d.number()
	for range d.count(1) {
		c.statuses = append(c.statuses, pgbarrier.Status(d.byte()))
	}
	return d.end()
}
