package notify_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/pgbarrier/pgbarrier/notify"
)

type carrier map[string]string

func (c carrier) Get(key string) string { return c[key] }
func (c carrier) Set(key, value string) { c[key] = value }

func TestInjectAddsTheBarrierToWhatTheMessageCarries(t *testing.T) {
	ctx := notify.WithTx(t.Context(), &made{})
	own, other, third := tokenText(1), tokenText(8), tokenText(9)
	for carried, want := range map[string]string{
		"":                           own,
		" ":                          own,
		other:                        other + "," + own,
		other + ", " + third:         other + "," + third + "," + own,
		own:                          own,
		other + " , " + own:          other + " , " + own,
		own + "," + other:            own + "," + other,
		"not a token, is kept":       "not a token,is kept," + own,
		"," + other + ",":            other + "," + own,
		strings.Repeat(own+",", 2):   strings.Repeat(own+",", 2),
		own[:len(own)-1]:             own[:len(own)-1] + "," + own,
		strings.ToUpper(own[5:10]):   strings.ToUpper(own[5:10]) + "," + own,
		other + "," + own + "," + "": other + "," + own + ",",
	} {
		c := carrier{notify.Header: carried, "other": "stays"}
		if carried == "" {
			delete(c, notify.Header)
		}
		for range 2 { // the second time it is there
			if err := notify.Inject(ctx, c); err != nil || c[notify.Header] != want || c["other"] != "stays" || len(c) != 2 {
				t.Errorf("%q became %q, want %q; %v", carried, c, want, err)
			}
		}
	}
}

func TestInjectKeepsEveryLineOfAnHTTPHeader(t *testing.T) {
	ctx := notify.WithTx(t.Context(), &made{})
	h := http.Header{}
	h.Add(notify.Header, tokenText(8))
	h.Add(notify.Header, tokenText(9))
	if err := notify.Inject(ctx, h); err != nil {
		t.Fatal(err)
	}
	if want := tokenText(8) + "," + tokenText(9) + "," + tokenText(1); h.Get(notify.Header) != want || len(h.Values(notify.Header)) != 1 {
		t.Errorf("the header is %q, want %q", h, want)
	}
}

func TestOutsideOfATransactionInjectDoesNothing(t *testing.T) {
	c := carrier{}
	if err := notify.Inject(t.Context(), c); err != nil || len(c) != 0 {
		t.Errorf("the message carries %v, %v", c, err)
	}
	if err := notify.Inject(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestOnAnErrorInjectLeavesTheMessageAsItWas(t *testing.T) {
	broken := errors.New("the statement was refused")
	ctx := notify.WithTx(t.Context(), &answer{err: broken})
	c := carrier{notify.Header: tokenText(8)}
	if err := notify.Inject(ctx, c); !errors.Is(err, broken) || c[notify.Header] != tokenText(8) {
		t.Errorf("the message carries %v, %v", c, err)
	}
}

func TestANilCarrierIsAnErrorNotAPanicAndMakesNoBarrier(t *testing.T) {
	tx := &made{}
	ctx := notify.WithTx(t.Context(), tx)
	for _, c := range []notify.Carrier{nil, carrier(nil), http.Header(nil), (*carrier)(nil)} {
		if err := notify.Inject(ctx, c); err == nil || !strings.Contains(err.Error(), "the carrier is nil") {
			t.Errorf("%T: %v", c, err)
		}
	}
	if tx.n != 0 {
		t.Errorf("%d barriers were made", tx.n)
	}
}
