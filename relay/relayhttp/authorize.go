package relayhttp

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// ErrForbidden is what an Authorize function returns, wrapped or not, for a client that is known and may not ask.
var ErrForbidden = errors.New("pgbarrier: relayhttp: not allowed")

var errUnauthorized = errors.New("pgbarrier: relayhttp: not authorized: send Authorization: Bearer and a secret of this relay")

// Bearer authorizes whoever sends one of the secrets as a bearer token. To change one, let both be known for a while.
// Clients are counted by their addresses: one secret may be shared by a fleet. An empty secret is never right.
func Bearer(secrets ...string) func(r *http.Request) (client string, err error) {
	var hashes [][sha256.Size]byte
	for _, secret := range secrets {
		if secret != "" {
			hashes = append(hashes, sha256.Sum256([]byte(secret)))
		}
	}
	return func(r *http.Request) (string, error) {
		scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		// Hashed, so that neither the length nor how much of it is right shows in the time that this takes.
		hash := sha256.Sum256([]byte(strings.TrimSpace(secret)))
		right := 0
		for _, h := range hashes {
			right |= subtle.ConstantTimeCompare(h[:], hash[:])
		}
		if right != 1 || !strings.EqualFold(scheme, "Bearer") {
			return "", errUnauthorized
		}
		return byAddress(r)
	}
}

// ClientCertificate authorizes whoever has shown a certificate of one of the names (DNS names or the common name), or
// any that the server's tls.Config has verified if there are no names. The tls.Config must have ClientAuth
// tls.RequireAndVerifyClientCert, or tls.VerifyClientCertIfGiven for probes without a certificate. Clients are
// counted by the name.
func ClientCertificate(names ...string) func(r *http.Request) (client string, err error) {
	return func(r *http.Request) (string, error) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			return "", fmt.Errorf("%w, or a verified client certificate", errUnauthorized)
		}
		leaf := r.TLS.VerifiedChains[0][0]
		shown := append([]string{leaf.Subject.CommonName}, leaf.DNSNames...)
		for _, name := range shown {
			if name != "" && (len(names) == 0 || slices.Contains(names, name)) {
				return name, nil
			}
		}
		return "", fmt.Errorf("%w: the client certificate is of %q", ErrForbidden, shown)
	}
}

// AnyOf authorizes whoever one of the functions does.
func AnyOf(authorize ...func(r *http.Request) (string, error)) func(r *http.Request) (client string, err error) {
	return func(r *http.Request) (client string, err error) {
		err = errUnauthorized
		for _, a := range authorize {
			if client, err = a(r); err == nil {
				return client, nil
			}
		}
		return "", err
	}
}

// byAddress counts a client by where it is.
func byAddress(r *http.Request) (string, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr, nil
	}
	return host, nil
}
