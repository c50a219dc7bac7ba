package relayhttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// ClientConfig says where a [Client] finds relays.
type ClientConfig struct {
	// URLs are the relays', such as https://relay:8443, or one of a service behind which there are several. When one
	// does not answer, the next is asked.
	URLs []string

	// Bearer, if not empty, is sent as a bearer token.
	Bearer string

	// HTTP sends the requests, for client certificates or a proxy. Its Timeout must be zero: waits take long. By
	// default it is one that gives up connecting after two seconds.
	HTTP *http.Client

	// Ping is how often a relay that has no news has to say so, 2 s by default. One that says nothing for
	// another Silence, 2 s by default, is taken for dead, and so is one that takes so long to answer a request.
	Ping, Silence time.Duration

	// MaxBatch bounds the waits of one request, 1000 by default.
	MaxBatch int

	Logger *slog.Logger // hears when no relay answers, and when one does again; nil is silent
}

// ErrSeveralDatabases is what a wait for tokens of several databases ends with: wait for those of each by itself, with
// guard.Mux for example.
var ErrSeveralDatabases = errors.New("pgbarrier: relayhttp: the tokens are of several databases: wait for those of each by itself")

// A Client waits by asking relays. It is a guard.FuncWaiter, whose methods may be called by any number of goroutines
// at once. It keeps no goroutine and no request while nothing is waited for.
//
// Waits go out together: those that begin while a request is on its way to the relay are sent by the next. When there
// are more than a handful of requests, the next takes the waits of smaller ones over. A request is over
// after half a minute, and what has not ended is sent again. A relay that dies, hangs, refuses, drains or answers
// nonsense delays waits, and ends none: they are sent to the next relay, after a pause that is random and grows.
//
// A token of a database that no relay serves is waited for until its context ends, and logged; see [Client.Health].
type Client struct {
	config ClientConfig
	http   *http.Client
	life   context.Context // until Close
	end    context.CancelFunc
	tasks  sync.WaitGroup

	mu       sync.Mutex
	waits    map[uint64]*wait // that have not ended
	ids      uint64
	queue    []*wait // to be sent
	batches  map[*batch]struct{}
	sending  bool // there is a goroutine that sends the queue
	closed   bool
	relay    int             // which of the URLs is asked
	failures int             // in a row
	busy     time.Duration   // that a relay asked to wait before the next request
	trouble  error           // of the last request, nil if it was answered
	foreign  map[uint32]bool // origins that no relay has served when it was last asked
}

// A wait is one call of WaitFunc. All of it is guarded by the client's mu, but for what does not change.
type wait struct {
	id     uint64
	tokens []pgbarrier.Token
	f      func(error)
	batch  *batch // by which it is with a relay; nil: it is in the queue, or will be
	delay  *time.Timer
	tries  int // that were refused
}

// NewClient returns a client. It connects to nothing. Close ends it.
func NewClient(config ClientConfig) (*Client, error) {
	if len(config.URLs) == 0 {
		return nil, errors.New("pgbarrier: relayhttp: ClientConfig.URLs is empty: name a relay, such as http://relay:8080")
	}
	urls := make([]string, len(config.URLs))
	for i, text := range config.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("pgbarrier: relayhttp: %q is no URL such as https://relay:8443", text)
		}
		urls[i] = strings.TrimSuffix(text, "/")
	}
	config.URLs = urls
	config.Ping = cmp.Or(config.Ping, 2*time.Second)
	config.Silence = cmp.Or(config.Silence, 2*time.Second)
	config.MaxBatch = cmp.Or(config.MaxBatch, 1000)
	if config.Ping < minPing || config.Silence <= 0 || config.MaxBatch < 1 {
		return nil, fmt.Errorf("pgbarrier: relayhttp: Ping is %v, Silence %v, MaxBatch %d: they must be at least %v, positive, and 1",
			config.Ping, config.Silence, config.MaxBatch, minPing)
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{config: config, waits: make(map[uint64]*wait), batches: make(map[*batch]struct{}), foreign: make(map[uint32]bool)}
	c.http = config.client()
	c.life, c.end = context.WithCancel(context.Background())
	return c, nil
}

// client returns what sends the requests.
func (c ClientConfig) client() *http.Client {
	client := &http.Client{}
	if c.HTTP != nil {
		*client = *c.HTTP
	}
	if client.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.DialContext = (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 10 * time.Second}).DialContext
		transport.MaxIdleConnsPerHost = maxStreams
		transport.DisableCompression = true
		client.Transport = transport
	}
	if client.CheckRedirect == nil { // a token is a capability, and not for others
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return client
}

// Close ends all waits with pgbarrier.ErrClosed and returns when nothing is left of them. It may be called again.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	waits := c.waits
	c.waits = make(map[uint64]*wait)
	for _, w := range waits {
		if w.delay != nil {
			w.delay.Stop()
		}
	}
	c.queue = nil
	c.mu.Unlock()
	c.end()
	for _, w := range waits {
		w.f(pgbarrier.ErrClosed)
	}
	c.tasks.Wait()
	c.http.CloseIdleConnections()
}

// Wait returns nil once the transactions of all the tokens have committed and can be read on the primary. It returns
// a *pgbarrier.TokenError as soon as one of them is known not to, ctx.Err() if ctx ends first, and
// pgbarrier.ErrClosed after Close. An outage of relays, networks or the database delays a wait and never ends it.
func (c *Client) Wait(ctx context.Context, tokens ...pgbarrier.Token) error {
	ended := make(chan error, 1)
	stop := c.WaitFunc(func(err error) { ended <- err }, tokens...)
	defer stop()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WaitFunc begins a wait and calls f, once, with what Wait would return. f may be called before WaitFunc returns, by
// any goroutine, and must not hold it up. After stop it is not called, unless the wait has just ended.
func (c *Client) WaitFunc(f func(error), tokens ...pgbarrier.Token) (stop func()) {
	if err := validate(tokens); err != nil {
		f(err)
		return func() {}
	}
	w := &wait{f: f, tokens: append([]pgbarrier.Token(nil), tokens...)}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		f(pgbarrier.ErrClosed)
		return func() {}
	}
	c.ids++
	w.id = c.ids
	c.waits[w.id] = w
	c.enqueue(w)
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.forget(w)
	}
}

func validate(tokens []pgbarrier.Token) error {
	if len(tokens) == 0 {
		return fmt.Errorf("pgbarrier: wait: %w: there is none", pgbarrier.ErrInvalidToken)
	}
	for _, t := range tokens {
		if err := t.Valid(); err != nil {
			return fmt.Errorf("pgbarrier: wait: %w", err)
		}
		if t.Origin != tokens[0].Origin {
			return ErrSeveralDatabases
		}
	}
	return nil
}

// Health returns nil if the last request was answered, and no token is waited for whose database no relay serves. Waits
// go on meanwhile.
func (c *Client) Health() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble == nil {
		for origin := range c.foreign {
			return fmt.Errorf("pgbarrier: relayhttp: no relay serves the database of tokens with origin %08x", origin)
		}
	}
	return c.trouble
}

// Pending returns how many waits have not ended.
func (c *Client) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waits)
}

// enqueue is called with mu held.
func (c *Client) enqueue(waits ...*wait) {
	for _, w := range waits {
		w.batch = nil
	}
	c.queue = append(c.queue, waits...)
	if !c.sending && len(c.queue) > 0 && !c.closed {
		c.sending = true
		c.tasks.Go(c.send)
	}
}

// forget takes a wait away that needs no answer any more, and reports whether it had not ended. It is called with mu
// held.
func (c *Client) forget(w *wait) bool {
	if c.waits[w.id] != w {
		return false
	}
	delete(c.waits, w.id)
	if w.delay != nil {
		w.delay.Stop()
	}
	if b := w.batch; b != nil {
		b.leave(w)
	}
	return true
}
