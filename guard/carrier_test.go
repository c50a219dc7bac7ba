package guard_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// getOnly is a carrier that cannot tell an empty value from none, as OpenTelemetry's are.
type getOnly struct{ guard.Carrier }

func TestAMessageCarriesEachTokenThatWasAddedOnce(t *testing.T) {
	a, b, c := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
	for name, message := range map[string]guard.Carrier{"http.Header": http.Header{}, "Map": guard.Map{}, "Get only": getOnly{guard.Map{}}} {
		guardtest.CarriesNone(t, message)
		for _, tokens := range [][]pgbarrier.Token{nil, {a}, {a, b}, {c, b, c}} {
			if err := guard.Add(message, tokens...); err != nil {
				t.Fatal(err)
			}
		}
		if got := guardtest.Carries(t, message, a, b, c); !slices.Equal(got, []pgbarrier.Token{a, b, c}) {
			t.Errorf("%s carries %v", name, got)
		}
		if got, want := message.Get(guard.Header), a.String()+","+b.String()+","+c.String(); got != want {
			t.Errorf("%s: the header is %q, want %q", name, got, want)
		}
	}
}

// Proxies and gateways may add a line of their own, and join lines with a space.
func TestEveryLineOfAHeaderCounts(t *testing.T) {
	a, b, c := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
	header := http.Header{}
	header.Add(guard.Header, a.String())
	header.Add(guard.Header, b.String()+" ,\t"+c.String())
	guardtest.Carries(t, header, a, b, c)
	if err := guard.Add(header, a); err != nil {
		t.Fatal(err)
	}
	guardtest.Carries(t, header, a, b, c)
}

func TestAValueThatIsNotWhollyTokensIsInvalid(t *testing.T) {
	token := guardtest.NewToken().String()
	for _, value := range []string{
		"", " ", ",", "x", token + ",", "," + token, token + ",," + token, token + ", ", token + ";" + token, token + " " + token,
		token[:len(token)-1], token + "0", token + "\n", strings.ToUpper(token), `"` + token + `"`, token + ",x", "x," + token,
		strings.Repeat(token+",", 1000) + token, pgbarrier.Token{}.String(),
	} {
		message := guard.Map{guard.Header: value}
		if tokens, err := guard.Extract(message); !errors.Is(err, pgbarrier.ErrInvalidToken) || tokens != nil {
			t.Errorf("%.80q: %v, %v", value, tokens, err)
		}
		header := http.Header{}
		header.Add(guard.Header, token)
		header.Add(guard.Header, value)
		if tokens, err := guard.Extract(header); !errors.Is(err, pgbarrier.ErrInvalidToken) || tokens != nil {
			t.Errorf("%.80q beside a good line: %v, %v", value, tokens, err)
		}
		if err := guard.Add(message, guardtest.NewToken()); !errors.Is(err, pgbarrier.ErrInvalidToken) || message[guard.Header] != value {
			t.Errorf("%.80q: added to, %v", value, err)
		}
	}
}

func TestATokenThatNamesNoBarrierIsNotAdded(t *testing.T) {
	message := guard.Map{}
	for _, tokens := range [][]pgbarrier.Token{{{}}, {guardtest.NewToken(), {}}} {
		if err := guard.Add(message, tokens...); !errors.Is(err, pgbarrier.ErrInvalidToken) || len(message) > 0 {
			t.Errorf("added: %v, %v", message, err)
		}
	}
	for _, none := range []guard.Carrier{nil, guard.Map(nil), http.Header(nil)} {
		if err := guard.Add(none, guardtest.NewToken()); err == nil {
			t.Errorf("added to %T, a message without headers", none)
		}
	}
	many := make([]pgbarrier.Token, 1001)
	for i := range many {
		many[i] = guardtest.NewToken()
	}
	if err := guard.Add(message, many...); err == nil || len(message) > 0 {
		t.Errorf("a message carries what cannot be read again: %v", err)
	}
	if err := guard.Add(message, many[:1000]...); err != nil {
		t.Error(err)
	}
	guardtest.Carries(t, message, many[:1000]...)
}

func TestADeduplicationIDIsOfTheBusinessAndTheBarrier(t *testing.T) {
	first, second := guardtest.NewToken(), guardtest.NewToken()
	if again := first; guard.DedupID("order-7", first) != guard.DedupID("order-7", again) {
		t.Error("sending again inside the transaction is no duplicate")
	}
	if guard.DedupID("order-7", first) == guard.DedupID("order-7", second) {
		t.Error("the next transaction is a duplicate of the one that rolled back")
	}
	if guard.DedupID("order-7", first) == guard.DedupID("order-8", first) {
		t.Error("two works of one transaction are duplicates")
	}
	if got := guard.DedupID("order-7", pgbarrier.Token{}); got != "order-7" {
		t.Errorf("without a barrier the id is %q", got)
	}
}
