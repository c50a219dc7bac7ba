package relayhttp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/relay"
)

func TestOnlyASecretsHolderIsAnswered(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), func(_ *relay.Config, c *ServerConfig) { c.Authorize = Bearer("old", "", "new") })
	token := guardtest.NewToken()
	s.Commit(token)
	url := s.http.URL + barriersPath + token.String()
	for header, want := range map[string]int{"Bearer old": 200, "Bearer new": 200, "bearer new": 200,
		"": 401, "Bearer": 401, "Bearer ": 401, "Bearer olD": 401, "Bearer oldnew": 401, "Basic old": 401, "old": 401} {
		code, body, answer := get(t, url, "Authorization", header)
		if code != want || (answer.Get("WWW-Authenticate") != "") != (code == 401) {
			t.Errorf("%q: %d %s", header, code, body)
		}
	}
	for _, path := range []string{waitsPath, checksPath} {
		if code, _, _ := do(t, http.DefaultClient, http.MethodPost, s.http.URL+path, "{}"); code != 401 {
			t.Errorf("%s without a secret: %d", path, code)
		}
	}
	// A client without it waits, and says why.
	c := newClient(t, func(c *ClientConfig) { c.Bearer = "wrong" }, s.http.URL)
	ended := make(chan error, 1)
	defer c.WaitFunc(func(err error) { ended <- err }, token)()
	eventually(t, "it says so", func() bool { return c.Health() != nil })
	if _, err := c.Check(t.Context(), token); err == nil {
		t.Error("a check without the secret was answered")
	}
	if len(ended) > 0 {
		t.Errorf("the wait ended with %v", <-ended)
	}
	must(t, newClient(t, func(c *ClientConfig) { c.Bearer = "new" }, s.http.URL).Wait(t.Context(), token))
}

// certificate makes one that ca has signed, or one that signs.
func certificate(t *testing.T, name string, ca *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: ca == nil,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	parent, signer := template, any(key)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestOnlyACertificatesHolderIsAnswered(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), func(_ *relay.Config, c *ServerConfig) {
		c.Authorize = AnyOf(ClientCertificate("worker"), Bearer("secret"))
	})
	token := guardtest.NewToken()
	s.Commit(token)
	ca := certificate(t, "authority", nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	secure := httptest.NewUnstartedServer(s.handler)
	secure.EnableHTTP2 = true
	secure.TLS = &tls.Config{ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, Certificates: []tls.Certificate{certificate(t, "localhost", &ca)}}
	secure.StartTLS()
	t.Cleanup(secure.Close)

	with := func(certificates ...tls.Certificate) *http.Client {
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: certificates}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	url := secure.URL + barriersPath + token.String()
	for name, test := range map[string]struct {
		client *http.Client
		code   int
	}{
		"worker":  {with(certificate(t, "worker", &ca)), 200},
		"another": {with(certificate(t, "another", &ca)), 401}, // nor has it a secret
		"nobody":  {with(), 401},
	} {
		if code, body, _ := do(t, test.client, http.MethodGet, url, ""); code != test.code {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	if code, _, _ := do(t, with(), http.MethodGet, secure.URL+"/readyz", ""); code != 200 {
		t.Errorf("a probe: %d", code)
	}
	self := certificate(t, "worker", nil)
	forging := with()
	forging.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &self, nil }
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	if resp, err := forging.Do(r); err == nil {
		t.Errorf("a certificate that nobody has signed: %d", resp.StatusCode)
		resp.Body.Close()
	}
	if _, err := ClientCertificate("worker")(&http.Request{TLS: &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{ca.Leaf}}}}); !errors.Is(err, ErrForbidden) {
		t.Errorf("of another name: %v", err)
	}
	// Over HTTP/2, with the certificate.
	c := newClient(t, func(c *ClientConfig) { c.HTTP = with(certificate(t, "worker", &ca)) }, secure.URL)
	must(t, c.Wait(t.Context(), token))
}
