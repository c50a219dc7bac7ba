package guardtest

import (
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

var xids atomic.Uint64

// NewToken returns the token of a barrier that no database has made, of a transaction of its own.
func NewToken() pgbarrier.Token { return OldToken(0) }

// OldToken is NewToken for a barrier that was created that long ago.
func OldToken(age time.Duration) pgbarrier.Token {
	t := pgbarrier.Token{XID: 1000 + xids.Add(1), Origin: 0x7e57}
	_, _ = rand.Read(t.ID[:]) // never fails
	ms := time.Now().Add(-age).UnixMilli()
	for i := range 6 {
		t.ID[i] = byte(ms >> (40 - 8*i))
	}
	t.ID[6] = t.ID[6]&0x0f | 0x70 // UUIDv7, RFC 9562
	t.ID[8] = t.ID[8]&0x3f | 0x80
	return t
}

// Carries fails the test unless the message carries a barrier, or, if tokens are given, exactly these, in
// any order. It returns what the message carries.
func Carries(t testing.TB, message guard.Carrier, tokens ...pgbarrier.Token) []pgbarrier.Token {
	t.Helper()
	carried, err := guard.Extract(message)
	if err != nil {
		t.Errorf("the message's barrier: %v", err)
		return nil
	}
	if len(carried) == 0 {
		t.Errorf("the message carries no barrier")
	}
	has := make(map[pgbarrier.Token]bool, len(carried))
	for _, c := range carried {
		has[c] = true
	}
	same := len(tokens) == 0 || len(tokens) == len(carried)
	for _, want := range tokens {
		same = same && has[want]
	}
	if !same {
		t.Errorf("the message carries %v, want %v", carried, tokens)
	}
	return carried
}

// CarriesNone fails the test if the message carries a barrier.
func CarriesNone(t testing.TB, message guard.Carrier) {
	t.Helper()
	if carried, err := guard.Extract(message); err != nil || len(carried) > 0 {
		t.Errorf("the message carries a barrier: %v, %v", carried, err)
	}
}
