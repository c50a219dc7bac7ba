package pgbarrier_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"database/sql"

	"github.com/google/uuid"

	"github.com/pgbarrier/pgbarrier"
)

const someToken = "pgb1.01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b.12345.0a1b2c3d"

func parsed(t testing.TB, s string) pgbarrier.Token {
	t.Helper()
	token, err := pgbarrier.ParseToken(s)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestATokenIsItsThreeParts(t *testing.T) {
	want := pgbarrier.Token{
		ID:     uuid.MustParse("01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b"),
		XID:    12345,
		Origin: 0x0a1b2c3d,
	}
	if got := parsed(t, someToken); got != want {
		t.Errorf("parsed %+v, want %+v", got, want)
	}
	if got := want.String(); got != someToken {
		t.Errorf("String() = %s, want %s", got, someToken)
	}
}

func TestTheLargestTokenHas70Bytes(t *testing.T) {
	largest := parsed(t, someToken)
	largest.XID, largest.Origin = math.MaxInt64, math.MaxUint32
	s := largest.String()
	if len(s) != 70 {
		t.Errorf("%s has %d bytes, the documentation promises at most 70", s, len(s))
	}
	if parsed(t, s) != largest {
		t.Errorf("%s does not come back", s)
	}
}

// Each of these is one step away from a token, and says in its error which step.
func TestParseTokenTakesTheCanonicalSpellingOnly(t *testing.T) {
	const id = "01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b"
	for _, test := range []struct{ token, problem string }{
		{"", "it is empty"},
		{" " + someToken, "does not start with"},
		{someToken + "\n", "its origin"},
		{"PGB1." + id + ".12345.0a1b2c3d", "does not start with"},
		{"pgb2." + id + ".12345.0a1b2c3d", "does not start with"},
		{"pgb1", "does not start with"},
		{"pgb1.", "1 parts"},
		{"pgb1." + id, "1 parts"},
		{"pgb1." + id + ".12345", "2 parts"},
		{"pgb1." + id + ".12345.", "its origin"},
		{"pgb1." + id + ".12345.0a1b2c3", "its origin"},
		{"pgb1." + id + ".12345.0a1b2c3d4", "its origin"},
		{"pgb1." + id + ".12345.0A1B2C3D", "its origin"},
		{"pgb1." + id + ".12345.0a1b2c3g", "its origin"},
		{"pgb1." + id + ".12345.0a1b2c3d.", "4 parts"},
		{"pgb1." + id + "..0a1b2c3d", "its transaction id"},
		{"pgb1." + id + ".0.0a1b2c3d", "its transaction id"},
		{"pgb1." + id + ".012345.0a1b2c3d", "its transaction id"},
		{"pgb1." + id + ".+12345.0a1b2c3d", "its transaction id"},
		{"pgb1." + id + ".-1.0a1b2c3d", "its transaction id"},
		{"pgb1." + id + ".1_000.0a1b2c3d", "its transaction id"},
		{"pgb1." + id + ".9223372036854775808.0a1b2c3d", "its transaction id"},
		{"pgb1." + strings.ToUpper(id) + ".12345.0a1b2c3d", "its id is not a lower-case"},
		{"pgb1." + strings.ReplaceAll(id, "-", "") + ".12345.0a1b2c3d", "its id is not a lower-case"},
		{"pgb1.{" + id + "}.1.0a1b2c3d", "its id is not a lower-case"},
		{"pgb1.01976a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b.12345.0a1b2c3d", "version 7"},
		{"pgb1.01976a2b-3c4d-7e5f-0a6b-7c8d9e0f1a2b.12345.0a1b2c3d", "version 7"},
		{"pgb1.01976a2b-3c4d-7e5f-ca6b-7c8d9e0f1a2b.12345.0a1b2c3d", "version 7"},
		{strings.Repeat("x", 1<<20), "1048576 bytes"},
	} {
		token, err := pgbarrier.ParseToken(test.token)
		switch {
		case !errors.Is(err, pgbarrier.ErrInvalidToken):
			t.Errorf("%.80q: %v is not ErrInvalidToken", test.token, err)
		case !strings.Contains(err.Error(), test.problem):
			t.Errorf("%.80q: %q does not say %q", test.token, err, test.problem)
		case len(err.Error()) > 400:
			t.Errorf("%.80q: the error has %d bytes", test.token, len(err.Error()))
		case !token.IsZero():
			t.Errorf("%.80q: came with the token %v", test.token, token)
		}
	}
}

func TestATokenTellsWhenItWasCreated(t *testing.T) {
	want := time.UnixMilli(0x01976a2b3c4d)
	if got := parsed(t, someToken).Created(); !got.Equal(want) {
		t.Errorf("Created() = %v, want %v", got, want)
	}
}

// A message without a barrier is to be noticed where it is made, not where it is worked on.
func TestATokenThatNamesNoBarrierCannotBeEncoded(t *testing.T) {
	v4 := parsed(t, someToken)
	v4.ID = uuid.MustParse("01976a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b")
	noXID, hugeXID := parsed(t, someToken), parsed(t, someToken)
	noXID.XID, hugeXID.XID = 0, math.MaxInt64+1
	for name, token := range map[string]pgbarrier.Token{"zero": {}, "v4": v4, "no xid": noXID, "huge xid": hugeXID} {
		t.Run(name, func(t *testing.T) {
			if err := token.Valid(); !errors.Is(err, pgbarrier.ErrInvalidToken) {
				t.Errorf("Valid() = %v", err)
			}
			if text, err := token.MarshalText(); !errors.Is(err, pgbarrier.ErrInvalidToken) || text != nil {
				t.Errorf("MarshalText() = %q, %v", text, err)
			}
			if value, err := token.Value(); !errors.Is(err, pgbarrier.ErrInvalidToken) || value != nil {
				t.Errorf("Value() = %v, %v", value, err)
			}
			if _, err := json.Marshal(struct{ Barrier pgbarrier.Token }{token}); !errors.Is(err, pgbarrier.ErrInvalidToken) {
				t.Errorf("json.Marshal: %v", err)
			}
		})
	}
	if !(pgbarrier.Token{}).IsZero() || v4.IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestATokenGoesThroughJSON(t *testing.T) {
	type message struct {
		Barrier pgbarrier.Token `json:"barrier,omitzero"`
		ByToken map[pgbarrier.Token]int
	}
	token := parsed(t, someToken)
	sent := message{Barrier: token, ByToken: map[pgbarrier.Token]int{token: 7}}
	text, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"barrier":"` + someToken + `","ByToken":{"` + someToken + `":7}}`; string(text) != want {
		t.Errorf("JSON is %s, want %s", text, want)
	}
	var got message
	if err := json.Unmarshal(text, &got); err != nil || got.Barrier != token || got.ByToken[token] != 7 {
		t.Errorf("came back as %+v, %v", got, err)
	}
	if text, err = json.Marshal(message{}); err != nil || strings.Contains(string(text), "barrier") {
		t.Errorf("omitzero gave %s, %v", text, err)
	}
	for _, bad := range []string{`{"barrier":""}`, `{"barrier":"pgb1."}`, `{"barrier":17}`} {
		got = message{Barrier: token}
		if err := json.Unmarshal([]byte(bad), &got); err == nil || got.Barrier != token {
			t.Errorf("%s: %v, and the token is now %v", bad, err, got.Barrier)
		}
	}
}

func TestATokenIsStoredAsText(t *testing.T) {
	token := parsed(t, someToken)
	if value, err := token.Value(); err != nil || value != someToken {
		t.Errorf("Value() = %v, %v", value, err)
	}
	for _, src := range []any{someToken, []byte(someToken)} {
		var got pgbarrier.Token
		if err := got.Scan(src); err != nil || got != token {
			t.Errorf("Scan(%T) gave %v, %v", src, got, err)
		}
	}
	for _, src := range []any{nil, "", []byte(nil), "pgb1.", 17, time.Now(), uuid.New()} {
		got := token
		if err := got.Scan(src); !errors.Is(err, pgbarrier.ErrInvalidToken) || got != token {
			t.Errorf("Scan(%#v): %v, and the token is now %v", src, err, got)
		}
	}
	var null sql.Null[pgbarrier.Token]
	if err := null.Scan(nil); err != nil || null.Valid {
		t.Errorf("sql.Null: %v, %v", null, err)
	}
	if err := null.Scan(someToken); err != nil || null.V != token {
		t.Errorf("sql.Null: %v, %v", null, err)
	}
}
