package relayhttp

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/relay"
)

// ServerConfig says whom a [Handler] answers, and how much. The zero ServerConfig answers everybody.
type ServerConfig struct {
	// Authorize returns the client's name, by which its requests are counted, or why it gets no answer: an error
	// that is [ErrForbidden] is 403, any other 401. See [Bearer] and [ClientCertificate]. Without it everybody is
	// answered, and requests are counted by their address. Health and readiness need no authorization.
	Authorize func(r *http.Request) (client string, err error)

	// MaxWait bounds how long a request may take, 1 min by default: a longer wait is pending then. Proxies that end
	// silent requests want it shorter.
	MaxWait time.Duration

	// MaxRequests bounds the requests that are answered at the same time, 10,000 by default, and MaxClientRequests
	// those of one client, 1,000 by default. How many tokens may be waited for is the relay's to say.
	MaxRequests, MaxClientRequests int

	// MaxBody bounds a request's body, 1 MiB by default, which is some 10,000 tokens.
	MaxBody int64

	Logger *slog.Logger // hears of requests that are refused, at level debug; nil is silent
}

// A Handler answers waits over HTTP. It serves /v1/barriers/, /v1/waits, /v1/checks, /healthz and /readyz.
//
// The http.Server that it stands in must have no WriteTimeout, which would cut waits off, and should have a
// ReadHeaderTimeout. Its Shutdown returns soon after the relay's Drain: requests that wait are answered then, so that
// clients ask another relay.
type Handler struct {
	relay  *relay.Relay
	config ServerConfig
	mux    http.ServeMux
	load   load
}

// NewHandler returns a handler that answers by r.
func NewHandler(r *relay.Relay, config ServerConfig) (*Handler, error) {
	if r == nil {
		return nil, errors.New("pgbarrier: relayhttp: the relay is nil: make one with relay.New")
	}
	config.MaxWait = cmp.Or(config.MaxWait, time.Minute)
	config.MaxRequests = cmp.Or(config.MaxRequests, 10_000)
	config.MaxClientRequests = cmp.Or(config.MaxClientRequests, 1000)
	config.MaxBody = cmp.Or(config.MaxBody, 1<<20)
	if config.MaxWait < 0 || config.MaxRequests < 0 || config.MaxClientRequests < 0 || config.MaxBody < 0 {
		return nil, fmt.Errorf("pgbarrier: relayhttp: a limit is negative: MaxWait %v, MaxRequests %d, MaxClientRequests %d, MaxBody %d",
			config.MaxWait, config.MaxRequests, config.MaxClientRequests, config.MaxBody)
	}
	if config.Authorize == nil {
		config.Authorize = byAddress
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Handler{relay: r, config: config}
	h.load = load{max: config.MaxRequests, maxClient: config.MaxClientRequests, of: make(map[string]int)}
	h.mux.HandleFunc("GET "+barriersPath+"{tokens}", h.authorized(h.getBarrier))
	h.mux.HandleFunc("POST "+waitsPath, h.authorized(h.postWaits))
	h.mux.HandleFunc("POST "+checksPath, h.authorized(h.postChecks))
	h.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, r.Live()) })
	h.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, r.Ready()) })
	return h, nil
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// An outcome that a cache keeps can outlive its truth, and a token is a capability.
	w.Header().Set("Cache-Control", "no-store, no-transform")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Accel-Buffering", "no")
	select {
	case <-h.relay.Draining():
		w.Header().Set("Connection", "close")
	default:
	}
	h.mux.ServeHTTP(w, r)
}

// Requests returns how many requests are being answered.
func (h *Handler) Requests() int { return h.load.now() }

// Refused returns how many requests got no answer because a limit was reached, or because they were not authorized.
func (h *Handler) Refused() uint64 { return h.load.refused.Load() }

// authorized lets requests of clients through that may ask, and for which there is room.
func (h *Handler) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		client, err := h.config.Authorize(r)
		if err == nil {
			err = h.load.enter(client)
		}
		if err != nil {
			h.load.refused.Add(1)
			h.refuse(w, r, err)
			return
		}
		defer h.load.leave(client)
		next(w, r)
	}
}

// refuse answers a request that gets no outcome.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusServiceUnavailable
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errUnauthorized):
		code = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Bearer realm="pgbarrier"`)
	case errors.Is(err, ErrForbidden):
		code = http.StatusForbidden
	case errors.Is(err, errTooMany), errors.Is(err, relay.ErrBusy):
		code = http.StatusTooManyRequests
	case errors.As(err, &tooLarge):
		code = http.StatusRequestEntityTooLarge
	case errors.Is(err, errBadRequest):
		code = http.StatusBadRequest
	case errors.Is(err, relay.ErrUnknownDatabase) && h.relay.Ready() == nil:
		code = http.StatusMisdirectedRequest
	}
	if code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests {
		retryAfter(w, code)
	}
	h.config.Logger.Debug("pgbarrier: relayhttp: refused", "code", code, "error", err, "remote", r.RemoteAddr)
	writeJSON(w, code, answer{Error: err.Error()})
}

// retryAfter asks for a pause that grows with what it is for: a limit that is reached stays so for a while.
func retryAfter(w http.ResponseWriter, code int) {
	seconds := 1
	if code == http.StatusTooManyRequests {
		seconds = 2
	}
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
}

// writeHealth answers a probe.
func writeHealth(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// errorWord is how a line of a stream tells of a wait that was not accepted.
func errorWord(err error) string {
	switch {
	case errors.Is(err, relay.ErrBusy):
		return wordBusy
	case errors.Is(err, relay.ErrUnknownDatabase):
		return wordUnknown
	case errors.Is(err, pgbarrier.ErrClosed):
		return wordClosed
	}
	return err.Error()
}

const (
	wordBusy    = "busy: ask again later"
	wordUnknown = "its database is not served here"
	wordClosed  = "the relay has stopped"
)

var errBadRequest = errors.New("bad request")
