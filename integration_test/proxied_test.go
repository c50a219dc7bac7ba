package integration_test

import (
	"net/url"
	"testing"

	"github.com/pgbarrier/pgbarrier/integration_test/internal/badnet"
)

// badNetwork returns a network in front of the server of the URL, and the URL that goes through it.
func badNetwork(t testing.TB, direct string) (*badnet.Proxy, string) {
	t.Helper()
	through, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	p, err := badnet.New(through.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	through.Host = p.Addr()
	return p, through.String()
}
