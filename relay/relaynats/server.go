package relaynats

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgbarrier/pgbarrier/relay"
)

// ServerConfig changes how a relay is served. The zero ServerConfig is fine.
type ServerConfig struct {
	// Lease is for how long a session lives of which nothing is heard, 30 s by default, at least a second. It is also
	// for how long a client may believe that something is committed after it asked, see the package's documentation.
	Lease time.Duration

	// Grace is how long a relay that drains waits for its clients to find another, 10 s by default.
	Grace time.Duration

	// MaxSessions bounds the sessions, 50,000 by default, and MaxChecks the checks at a time, 1,000.
	MaxSessions, MaxChecks int

	// RetryAfter is when a client may ask again for a wait that a limit refused, 1 s by default. It adds up to as much.
	RetryAfter time.Duration

	// Key signs what clients are sent, for those that trust nobody on the way. See ClientConfig.Keys.
	Key ed25519.PrivateKey

	// Logger hears of the beginning, the end, and of clients of another version. nil is silent.
	Logger *slog.Logger
}

const (
	minLease     = time.Second
	checkTimeout = 5 * time.Second // of a check, which a client asks again
	moveSpread   = time.Second     // in which clients leave a relay that drains
)

func (c ServerConfig) complete() (ServerConfig, error) {
	c.Lease = cmp.Or(c.Lease, 30*time.Second)
	c.Grace = cmp.Or(c.Grace, 10*time.Second)
	c.MaxSessions = cmp.Or(c.MaxSessions, 50_000)
	c.MaxChecks = cmp.Or(c.MaxChecks, 1000)
	c.RetryAfter = cmp.Or(c.RetryAfter, time.Second)
	switch {
	case c.Lease < minLease:
		return c, fmt.Errorf("pgbarrier: relaynats: Lease is %v, it must be at least %v", c.Lease, minLease)
	case c.Grace < 0 || c.MaxSessions < 0 || c.MaxChecks < 0 || c.RetryAfter < 0:
		return c, fmt.Errorf("pgbarrier: relaynats: Grace, MaxSessions, MaxChecks and RetryAfter cannot be negative")
	case c.Key != nil && len(c.Key) != ed25519.PrivateKeySize:
		return c, fmt.Errorf("pgbarrier: relaynats: Key has %d bytes, an Ed25519 key has %d", len(c.Key), ed25519.PrivateKeySize)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Serve answers waits that come over NATS, until ctx ends (it returns ctx.Err()), the relay has drained (nil), or the
// connection is closed for good. It leaves nothing running, and does not close the connection, which must be one that
// never gives up, see [Options].
//
// When the relay drains, its clients are told, and go on being answered here until they have found another relay, or
// until Config.Grace is over: they notice nothing. Run's context should end after Serve has returned.
func Serve(ctx context.Context, nc *nats.Conn, r *relay.Relay, config ServerConfig) error {
	b, err := newBus(nc)
	if err != nil {
		return err
	}
	return serve(ctx, b, r, config)
}

// A server serves one relay on one bus.
type server struct {
	config ServerConfig
	bus    bus
	relay  *relay.Relay
	id     string
	work   sync.WaitGroup
	ctx    context.Context // ends with the server
	out    outbox

	mu       sync.Mutex
	sessions map[string]*session // by where they are answered
	checks   map[asked]struct{}  // under way
	draining bool
	changed  chan struct{} // gets a signal when a session has gone. Capacity 1
}

func serve(ctx context.Context, b bus, r *relay.Relay, config ServerConfig) error {
	config, err := config.complete()
	if err != nil {
		return err
	}
	serving, cancel := context.WithCancel(ctx)
	s := &server{config: config, bus: b, relay: r, id: newID(), ctx: serving,
		checks: make(map[asked]struct{}), sessions: make(map[string]*session), changed: make(chan struct{}, 1), out: newOutbox()}
	defer s.work.Wait()
	defer cancel()
	closed := make(chan struct{})
	var once sync.Once
	unwatch := b.watch(func(gone bool) {
		if gone {
			once.Do(func() { close(closed) })
		}
	})
	defer unwatch()

	stop, err := b.subscribe(relaySubjects+s.id, s.receive)
	if err != nil {
		return err
	}
	defer stop()
	s.work.Go(func() { s.send(serving) })
	s.work.Go(func() { s.expire(serving) })
	config.Logger.Info("pgbarrier: relaynats: serving", "relay", s.id)
	err = s.greet(serving, closed) // until it drains
	if err == nil {
		err = s.drain(serving, closed)
	}
	s.dismiss()
	config.Logger.Info("pgbarrier: relaynats: no longer serving", "relay", s.id, "reason", err)
	return err
}

// greet answers hello for the databases that are served, whichever they are, until the relay drains.
func (s *server) greet(ctx context.Context, closed <-chan struct{}) error {
	stops := make(map[uint32]func())
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for {
		origins, changed := s.relay.Origins()
		serves := make(map[uint32]bool)
		for _, origin := range origins {
			serves[origin] = true
			if stops[origin] != nil {
				continue
			}
			stop, err := s.bus.subscribe(helloSubject(origin), func(m message) { s.hello(origin, m) })
			if err != nil {
				return err
			}
			stops[origin] = stop
		}
		for origin, stop := range stops {
			if !serves[origin] {
				stop()
				delete(stops, origin)
			}
		}
		select {
		case <-changed:
		case <-s.relay.Draining():
			return nil
		case <-closed:
			return nats.ErrConnectionClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hello tells a client where this relay is, if they have a version in common.
func (s *server) hello(origin uint32, m message) {
	var h hello
	v, k, d := open(m.data)
	if v != anyVersion || k != kindHello || h.decode(d) != nil || !mayAnswer(m.reply) {
		return
	}
	if h.min > version || h.max < version {
		s.config.Logger.Warn("pgbarrier: relaynats: a client speaks other versions of the protocol: upgrade the older",
			"client", m.reply, "versions", []byte{h.min, h.max}, "relay", version)
		s.reply(m.reply, hello{version, version}.encode(kindMismatch))
		return
	}
	s.mu.Lock()
	full := len(s.sessions) >= s.config.MaxSessions
	s.mu.Unlock()
	g := greeting{relay: s.id, lease: s.config.Lease, reluctant: full || s.relay.Full() || !s.relay.Answering(origin)}
	s.reply(m.reply, g.encode())
}

// reply sends one message. If it is lost the client asks again.
func (s *server) reply(subject string, message []byte) {
	_ = s.bus.publish(subject, "", sign(s.config.Key, subject, message))
}

// drain sends clients elsewhere and waits until they are gone.
func (s *server) drain(ctx context.Context, closed <-chan struct{}) error {
	s.mu.Lock()
	s.draining = true
	var told []string
	for inbox := range s.sessions {
		told = append(told, inbox)
	}
	s.mu.Unlock()
	for _, inbox := range told {
		s.reply(inbox, start(version, kindMoved))
	}
	grace := time.NewTimer(s.config.Grace)
	defer grace.Stop()
	for {
		s.mu.Lock()
		left := len(s.sessions)
		s.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-s.changed:
		case <-grace.C:
			s.config.Logger.Warn("pgbarrier: relaynats: the grace is over: clients have found no other relay", "sessions", left)
			return nil
		case <-closed:
			return nats.ErrConnectionClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dismiss ends all sessions and tells them.
func (s *server) dismiss() {
	s.mu.Lock()
	s.draining = true
	var all []*session
	for _, ss := range s.sessions {
		all = append(all, ss)
	}
	s.mu.Unlock()
	for _, ss := range all {
		s.end(ss, true)
	}
	s.bus.flush()
}
