package relaynats

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// ClientConfig changes how a [Client] works. The zero ClientConfig is fine.
type ClientConfig struct {
	// User is the part of the client's inbox that NATS permissions can be bound to, so that no other client overhears
	// what it is answered: letters, digits, "-" and "_". "any" by default.
	User string

	// Ping is after what time without a word a relay that owes an answer is asked whether it is there, 2 s by default,
	// and up to a quarter more. Silence is for how long it may say nothing then, 1 s by default: after both, another
	// relay is asked. It is longer after each relay that was silent, up to eight times.
	Ping, Silence time.Duration

	// Keys are the relays' public keys: what is not signed with one of them is ignored. Give it the old and the new one
	// while relays change theirs. Without, whoever NATS lets publish to the client's inbox is believed.
	Keys []ed25519.PublicKey

	// Fallback, unless nil, is asked about what is waited for when no relay has answered for FallbackAfter, 10 s by
	// default, and from then on more and more seldom, every 15 s at last. It is a listener's or a pool's:
	//
	//	func(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	//		return pgbarrier.Check(ctx, pool, tokens...)
	//	}
	Fallback      func(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error)
	FallbackAfter time.Duration

	// Logger hears of relays that do not answer. nil is silent.
	Logger *slog.Logger
}

func (c ClientConfig) complete() (ClientConfig, error) {
	c.User = cmp.Or(c.User, "any")
	c.Ping = cmp.Or(c.Ping, 2*time.Second)
	c.Silence = cmp.Or(c.Silence, time.Second)
	c.FallbackAfter = cmp.Or(c.FallbackAfter, 10*time.Second)
	switch {
	case !isToken(c.User):
		return c, fmt.Errorf("pgbarrier: relaynats: User is %q, it cannot be a part of a subject", c.User)
	case c.Ping < 0 || c.Silence < 0 || c.FallbackAfter < 0:
		return c, errors.New("pgbarrier: relaynats: Ping, Silence and FallbackAfter cannot be negative")
	}
	for _, key := range c.Keys {
		if len(key) != ed25519.PublicKeySize {
			return c, fmt.Errorf("pgbarrier: relaynats: a key has %d bytes, an Ed25519 public key has %d", len(key), ed25519.PublicKeySize)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// A Client waits with the help of relays. It is a [guard.FuncWaiter], so that a guard and every adapter take it in
// place of a listener. Its methods may be called by any number of goroutines at once.
type Client struct {
	config ClientConfig
	bus    bus
	inbox  string
	begun  atomic.Bool
	wake   chan struct{} // gets a signal when there may be something to send. Capacity 1

	mu     sync.Mutex
	links  map[uint32]*link // by origin
	ids    uint64           // of waits and checks; the last
	stats  Stats
	closed error // why no wait can begin any more
}

var _ guard.FuncWaiter = (*Client)(nil)

// NewClient returns a client of the relays that can be reached over nc, which must be a connection that never gives up,
// see [Options]. It starts nothing before [Client.Run]; waits that begin before wait for it.
func NewClient(nc *nats.Conn, config ClientConfig) (*Client, error) {
	b, err := newBus(nc)
	if err != nil {
		return nil, err
	}
	return newClient(b, config)
}

func newClient(b bus, config ClientConfig) (*Client, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	return &Client{config: config, bus: b, inbox: inboxes + config.User + "." + newID(),
		wake: make(chan struct{}, 1), links: make(map[uint32]*link)}, nil
}

// Options are what a connection to NATS needs to outlast everything: it reconnects for as long as it takes, also if the
// first attempt fails, and keeps nothing to send it late.
func Options() []nats.Option {
	return []nats.Option{nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(-1),
		nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond)}
}

// Run does the client's work until ctx ends, and returns ctx.Err(). It returns early only if the NATS connection is
// closed. Then all its goroutines are gone and every wait has ended, those without an outcome with
// pgbarrier.ErrClosed. The NATS connection stays open. A Client runs once.
func (c *Client) Run(ctx context.Context) error {
	if c.begun.Swap(true) {
		return errors.New("pgbarrier: relaynats: Run was called before: a Client runs once, make another")
	}
	err := c.run(ctx)
	if ctx.Err() != nil {
		err = ctx.Err()
		c.close(pgbarrier.ErrClosed)
	} else {
		c.close(fmt.Errorf("%w (%w)", pgbarrier.ErrClosed, err))
	}
	return err
}

func (c *Client) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	closed := make(chan struct{})
	var once sync.Once
	defer c.bus.watch(func(gone bool) {
		if gone {
			once.Do(func() { close(closed) })
		}
		c.reconnected()
	})()
	stop, err := c.bus.subscribe(c.inbox+".>", c.receive)
	if err != nil {
		return err
	}
	defer stop()
	if c.config.Fallback != nil {
		tasks.Go(func() { c.fallBack(ctx) })
	}

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := c.step()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-c.wake:
		case <-timer.C:
		case <-closed:
			return nats.ErrConnectionClosed
		case <-ctx.Done():
			c.sayBye()
			return ctx.Err()
		}
	}
}

// step sends what is due, and returns when to call it again without a signal.
func (c *Client) step() (next time.Time) {
	var out []outgoing
	c.mu.Lock()
	now := time.Now()
	for _, l := range c.links {
		due := l.step(now, &out)
		if next.IsZero() || !due.IsZero() && due.Before(next) {
			next = due
		}
	}
	c.mu.Unlock()
	for _, o := range out {
		if err := c.bus.publish(o.subject, o.reply, o.data); err != nil {
			c.mu.Lock()
			o.link.unsendable(time.Now())
			c.mu.Unlock()
			c.signal()
		}
	}
	return next
}

// An outgoing message is published without the lock, by Run alone, so that their order is kept.
type outgoing struct {
	link           *link
	subject, reply string
	data           []byte
}

func (c *Client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// reconnected begins all over: what was sent before may be lost, and the relay too.
func (c *Client) reconnected() {
	c.mu.Lock()
	for _, l := range c.links {
		l.failures = 0
		l.lose(time.Now(), "the connection to NATS was lost")
	}
	c.mu.Unlock()
	c.signal()
}

// sayBye lets relays forget the client at once.
func (c *Client) sayBye() {
	c.mu.Lock()
	var out []outgoing
	for _, l := range c.links {
		l.bye(&out)
	}
	c.mu.Unlock()
	for _, o := range out {
		_ = c.bus.publish(o.subject, o.reply, o.data)
	}
	if len(out) > 0 {
		c.bus.flush()
	}
}

// link returns the one for a database. It is called with mu held.
func (c *Client) link(origin uint32) *link {
	l := c.links[origin]
	if l == nil {
		l = &link{client: c, origin: origin, unsent: make(map[uint64]*wait), sent: make(map[uint64]*wait), checks: make(map[uint64]*asking)}
		c.links[origin] = l
	}
	return l
}
