package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pgbarrier/pgbarrier/relay"
	"github.com/pgbarrier/pgbarrier/relay/relayhttp"
)

// HTTPConfig says how to serve over HTTP.
type HTTPConfig struct {
	Address           string // empty: do not
	Certificate, Key  string // files; empty: without TLS
	ClientCA          string // file; who has a certificate of it may ask
	ClientNames       []string
	Secrets           []string // bearer tokens; who has one may ask
	MaxRequests       int
	MaxClientRequests int
	MaxWait           time.Duration
}

type overHTTP struct {
	listener net.Listener
	server   *http.Server
	relay    *relay.Relay
	linger   time.Duration
	grace    time.Duration
}

func openHTTP(r *relay.Relay, config Config) (*overHTTP, error) {
	c := config.HTTP
	waits := relayhttp.ServerConfig{MaxWait: c.MaxWait, MaxRequests: c.MaxRequests, MaxClientRequests: c.MaxClientRequests, Logger: config.Log}
	var authorize []func(*http.Request) (string, error)
	if len(c.Secrets) > 0 {
		authorize = append(authorize, relayhttp.Bearer(c.Secrets...))
	}
	if c.ClientCA != "" {
		authorize = append(authorize, relayhttp.ClientCertificate(c.ClientNames...))
	}
	if len(authorize) > 0 {
		waits.Authorize = relayhttp.AnyOf(authorize...)
	}
	handler, err := relayhttp.NewHandler(r, waits)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.Handle("GET /metrics", promhttp.HandlerFor(newRegistry(r, handler), promhttp.HandlerOpts{}))

	h := &overHTTP{relay: r, linger: config.Linger, grace: config.Grace}
	h.server = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(config.Log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
	}
	h.server.Protocols.SetHTTP1(true)
	h.server.Protocols.SetHTTP2(true)
	h.server.Protocols.SetUnencryptedHTTP2(true)
	if h.server.TLSConfig, err = c.tls(); err != nil {
		return nil, err
	}
	if h.listener, err = net.Listen("tcp", c.Address); err != nil {
		return nil, fmt.Errorf("serve over HTTP: %w", err)
	}
	scheme := "http"
	if h.server.TLSConfig != nil {
		scheme = "https"
	}
	fmt.Fprintf(config.Out, "HTTP      %s://%s   (/v1/barriers/TOKEN?wait=30s, /healthz, /readyz, /metrics)\n", scheme, h.listener.Addr())
	if waits.Authorize == nil && !Loopback(c.Address) {
		config.Log.Warn("pgbarrier: whoever reaches it may ask about tokens that they know: set --bearer-file or --client-ca", "address", h.listener.Addr().String())
	}
	return h, nil
}

// tls returns the server's configuration, or nil for a server without TLS.
func (c HTTPConfig) tls() (*tls.Config, error) {
	if c.Certificate == "" && c.Key == "" && c.ClientCA == "" {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	if c.ClientCA != "" {
		pem, err := os.ReadFile(c.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("--client-ca: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--client-ca: there is no certificate in %s", c.ClientCA)
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven // probes have none
	}
	return config, nil
}

// serve returns nil after the relay has drained and the last request was answered, or ctx has ended.
func (h *overHTTP) serve(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() {
		if h.server.TLSConfig != nil {
			ended <- h.server.ServeTLS(h.listener, "", "")
		} else {
			ended <- h.server.Serve(h.listener)
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	case <-h.relay.Draining():
		// Requests that come late are refused, not lost, until whoever sends them has read that it is not ready.
		select {
		case <-time.After(h.linger):
		case <-ctx.Done():
		}
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.grace)
	defer cancel()
	err := h.server.Shutdown(patience)
	<-ended
	if errors.Is(err, context.DeadlineExceeded) {
		err = h.server.Close()
	}
	return err
}

func (h *overHTTP) close() {
	_ = h.server.Close()
	_ = h.listener.Close()
}

// Loopback reports whether only this machine reaches the address.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
