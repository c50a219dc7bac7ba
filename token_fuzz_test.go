package pgbarrier_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

// Whatever is accepted has one spelling, and comes back from every codec as it was.
func FuzzParseToken(f *testing.F) {
	f.Add(someToken)
	f.Add("pgb1.01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b.9223372036854775807.ffffffff")
	f.Add("pgb1.01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b.1.00000000")
	f.Add("pgb1.00000000-0000-0000-0000-000000000000.0.00000000")
	f.Add("pgb1.01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b.12345")
	f.Add("pgb1...")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := pgbarrier.ParseToken(s)
		if err != nil {
			if !errors.Is(err, pgbarrier.ErrInvalidToken) || !token.IsZero() {
				t.Fatalf("%q: %v, %v", s, token, err)
			}
			return
		}
		if err := token.Valid(); err != nil {
			t.Fatalf("%q: parsed, and then: %v", s, err)
		}
		if token.String() != s {
			t.Fatalf("%q is also spelled %q", s, token)
		}
		text, err := json.Marshal(token)
		if err != nil {
			t.Fatal(err)
		}
		var back pgbarrier.Token
		if err := json.Unmarshal(text, &back); err != nil || back != token {
			t.Fatalf("%q through JSON: %v, %v", s, back, err)
		}
		value, err := token.Value()
		if err != nil {
			t.Fatal(err)
		}
		if err := back.Scan(value); err != nil || back != token {
			t.Fatalf("%q through SQL: %v, %v", s, back, err)
		}
	})
}

// What Valid accepts, ParseToken accepts, whatever the bits.
func FuzzValidTokensComeBack(f *testing.F) {
	f.Add([]byte("\x01\x97\x6a\x2b\x3c\x4d\x7e\x5f\x8a\x6b\x7c\x8d\x9e\x0f\x1a\x2b"), uint64(12345), uint32(0x0a1b2c3d))
	f.Add([]byte{}, uint64(0), uint32(0))
	f.Fuzz(func(t *testing.T, id []byte, xid uint64, origin uint32) {
		token := pgbarrier.Token{XID: xid, Origin: origin}
		copy(token.ID[:], id)
		back, err := pgbarrier.ParseToken(token.String())
		if (token.Valid() == nil) != (err == nil) || err == nil && back != token {
			t.Fatalf("%v: Valid says %v, ParseToken %v, %v", token, token.Valid(), back, err)
		}
	})
}
