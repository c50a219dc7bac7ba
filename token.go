package pgbarrier

import (
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	tokenPrefix = "pgb1."
	uuidLength  = 36
	// maxTokenLength is that of a token with the largest XID: prefix, uuid, 19 digits, 8 hex digits.
	maxTokenLength = len(tokenPrefix) + uuidLength + 1 + 19 + 1 + 8
)

// Token names a barrier outside the database. It is what a producer puts into a message.
//
// Its text form is pgb1.<uuid>.<xid>.<origin>, at most 70 bytes, all of them letters, digits, dots
// and hyphens. There is one spelling of each token: [ParseToken] refuses every other.
//
// Tokens are comparable and can be map keys. The zero Token names no barrier: it cannot be encoded,
// so that a message without a barrier is noticed where it is made.
type Token struct {
	// ID is the barrier's primary key, a UUIDv7 of the server's clock.
	ID uuid.UUID
	// XID is the full (64-bit) id of the top-level transaction that created the barrier.
	XID uint64
	// Origin tells which database the XID belongs to.
	Origin uint32
}

// ParseToken returns the token with the given text form. The error is an [ErrInvalidToken] that
// says what is wrong with s.
func ParseToken(s string) (Token, error) {
	t, problem := parseToken(s)
	if problem != "" {
		return Token{}, fmt.Errorf("%w: %s: %s", ErrInvalidToken, quoteShort(s), problem) // breakage: no token
	}
	return t, nil
}

// parseToken returns what is wrong with s, or nothing.
func parseToken(s string) (t Token, problem string) {
	switch {
	case s == "":
		return t, "it is empty"
	case len(s) > maxTokenLength:
		return t, fmt.Sprintf("it has %d bytes, a token has at most %d", len(s), maxTokenLength)
	case !strings.HasPrefix(s, tokenPrefix):
		return t, "it does not start with " + tokenPrefix
	}
	parts := strings.Split(s[len(tokenPrefix):], ".")
	if len(parts) != 3 {
		return t, fmt.Sprintf("it has %d parts after %s, not 3 (uuid, xid, origin); was it cut off?", len(parts), tokenPrefix)
	}
	id, err := parseID(parts[0])
	if err != nil {
		return t, err.Error()
	}
	// A bigint's range, as in sql/triggers.sql; PostgreSQL never gets near its end.
	xid, err := strconv.ParseUint(parts[1], 10, 63)
	if err != nil || xid == 0 || strconv.FormatUint(xid, 10) != parts[1] {
		return t, "its transaction id is not a number from 1 to 9223372036854775807 without leading zeros"
	}
	var origin [4]byte
	if n, err := hex.Decode(origin[:], []byte(shorten(parts[2], 8))); err != nil || n != 4 || len(parts[2]) != 8 || parts[2] != strings.ToLower(parts[2]) {
		return t, "its origin is not 8 lower-case hexadecimal digits; was it cut off?"
	}
	t = Token{ID: id, XID: xid}
	for _, b := range origin {
		t.Origin = t.Origin<<8 | uint32(b)
	}
	return t, ""
}

// parseID is stricter than uuid.Parse, which also takes braces, a urn: prefix, upper case and no
// hyphens.
func parseID(s string) (uuid.UUID, error) {
	id, err := uuid.Parse(s)
	if err != nil || id.String() != s {
		return uuid.Nil, fmt.Errorf("its id is not a lower-case hyphenated uuid")
	}
	if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
		return uuid.Nil, fmt.Errorf("its id is not a version 7 uuid")
	}
	return id, nil
}

// Valid returns nil if t can name a barrier, and otherwise an [ErrInvalidToken] that says what is
// wrong with it. It does not look into a database.
func (t Token) Valid() error {
	switch {
	case t.IsZero():
		return fmt.Errorf("%w: it is the zero token: no barrier was created, or its batch has not been sent yet", ErrInvalidToken)
	case t.ID.Version() != 7 || t.ID.Variant() != uuid.RFC4122:
		return fmt.Errorf("%w: %v: its id is not a version 7 uuid", ErrInvalidToken, t)
	case t.XID == 0 || t.XID > math.MaxInt64:
		return fmt.Errorf("%w: %v: its transaction id is not a number from 1 to 9223372036854775807", ErrInvalidToken, t)
	}
	return nil
}

// IsZero reports whether t is the zero Token, which names no barrier.
func (t Token) IsZero() bool { return t == Token{} }

// String returns the text form.
func (t Token) String() string {
	return string(t.append(make([]byte, 0, maxTokenLength)))
}

func (t Token) append(b []byte) []byte {
	b = append(b, tokenPrefix...)
	var id [uuidLength]byte
	hex.Encode(id[0:8], t.ID[0:4])
	hex.Encode(id[9:13], t.ID[4:6])
	hex.Encode(id[14:18], t.ID[6:8])
	hex.Encode(id[19:23], t.ID[8:10])
	hex.Encode(id[24:36], t.ID[10:16])
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
	b = append(b, id[:]...)
	b = append(b, '.')
	b = strconv.AppendUint(b, t.XID, 10)
	b = append(b, '.')
	return hex.AppendEncode(b, []byte{byte(t.Origin >> 24), byte(t.Origin >> 16), byte(t.Origin >> 8), byte(t.Origin)})
}

// Created returns when the barrier was created, by the server's clock, to the millisecond.
func (t Token) Created() time.Time {
	ms := int64(0)
	for _, b := range t.ID[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms)
}

// MarshalText implements [encoding.TextMarshaler], and so JSON. The zero Token is an error; tag a
// field that may have none with omitzero.
func (t Token) MarshalText() ([]byte, error) {
	if err := t.Valid(); err != nil {
		return nil, err
	}
	return t.append(make([]byte, 0, maxTokenLength)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. On error t is left as it was.
func (t *Token) UnmarshalText(text []byte) error {
	parsed, err := ParseToken(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// Value implements [driver.Valuer]: a token is stored as text. Use sql.Null[Token] for a column
// that may be null.
func (t Token) Value() (driver.Value, error) {
	if err := t.Valid(); err != nil {
		return nil, err
	}
	return t.String(), nil
}

// Scan implements [database/sql.Scanner] for text. Null is an error; use sql.Null[Token] for a
// column that may be null.
func (t *Token) Scan(src any) error {
	switch src := src.(type) {
	case string:
		return t.UnmarshalText([]byte(src))
	case []byte:
		return t.UnmarshalText(src)
	case nil:
		return fmt.Errorf("%w: it is null; scan into a sql.Null[pgbarrier.Token] to allow that", ErrInvalidToken)
	default:
		return fmt.Errorf("%w: cannot scan a %T, a token is text", ErrInvalidToken, src)
	}
}

func shorten(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// quoteShort keeps a huge or hostile input from filling a log.
func quoteShort(s string) string {
	if len(s) > maxTokenLength {
		return strconv.Quote(s[:maxTokenLength]) + "…"
	}
	return strconv.Quote(s)
}
