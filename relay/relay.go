package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// Database is what a relay learns one database's outcomes from: a *listener.Listener, or a test's double.
type Database interface {
	// Run does the work until ctx ends, as [listener.Listener.Run] does.
	Run(ctx context.Context) error
	// Origin returns the origin that the database's tokens have, and whether it is known yet. It may change.
	Origin() (origin uint32, known bool)
	// WaitFunc begins a wait, see [listener.Listener.WaitFunc].
	WaitFunc(f func(err error), tokens ...pgbarrier.Token) (stop func())
	// Check asks once, see [listener.Listener.Check].
	Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error)
	// Stats shows whether the database answers.
	Stats() listener.Stats
}

var _ Database = (*listener.Listener)(nil)

// Config says what a [Relay] serves.
type Config struct {
	// Databases are the relay's own: Run runs them. One for each database.
	Databases []Database

	// MaxTokens bounds the tokens that all sessions wait for together, 1,000,000 by default, which take some 600 MB;
	// MaxSessionTokens those of one session, 100,000 by default.
	MaxTokens, MaxSessionTokens int

	// Logger hears of databases that are found, and of those that fail for good. nil is silent.
	Logger *slog.Logger
}

// A Relay answers waits. Its methods may be called by any number of goroutines at once.
type Relay struct {
	config   Config
	begun    atomic.Bool
	drained  sync.Once
	draining chan struct{}
	sessions atomic.Int64
	tokens   atomic.Int64 // that are waited for
	counts   counts

	mu      sync.Mutex
	homes   []home        // by database
	changed chan struct{} // closed, and replaced, when an origin has changed
	ended   bool          // Run has returned
}

// A home is what is known of one database.
type home struct {
	origin   uint32
	known    bool
	failed   error     // Run returned: it never answers again
	troubled time.Time // since when it does not answer; zero: it does
}

// New returns a relay. It starts nothing before [Relay.Run].
func New(config Config) (*Relay, error) {
	if len(config.Databases) == 0 {
		return nil, errors.New("pgbarrier: relay: Config.Databases is empty: give it a listener.Listener")
	}
	for _, d := range config.Databases {
		if d == nil {
			return nil, errors.New("pgbarrier: relay: a database is nil: make a listener with listener.New")
		}
	}
	config.MaxTokens = cmp.Or(config.MaxTokens, 1_000_000)
	config.MaxSessionTokens = cmp.Or(config.MaxSessionTokens, 100_000)
	if config.MaxTokens < 0 || config.MaxSessionTokens < 0 {
		return nil, fmt.Errorf("pgbarrier: relay: MaxTokens is %d and MaxSessionTokens %d, they cannot be negative",
			config.MaxTokens, config.MaxSessionTokens)
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Relay{config: config, draining: make(chan struct{}), changed: make(chan struct{}),
		homes: make([]home, len(config.Databases))}, nil
}

// Run runs the databases until ctx ends, and returns ctx.Err(). It returns early, with what they said, if all of
// them have failed for good: the schema is missing, a grant, or the server is a standby. One that fails beside
// others is logged, and [Relay.Ready] tells of it.
//
// When Run returns, every wait has ended. A Relay runs once.
func (r *Relay) Run(ctx context.Context) error {
	if r.begun.Swap(true) {
		return errors.New("pgbarrier: relay: Run was called before: a Relay runs once, make another")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	for i, d := range r.config.Databases {
		running.Go(func() {
			if err := d.Run(ctx); ctx.Err() == nil {
				r.fail(i, err)
				r.config.Logger.Error("pgbarrier: relay: a database cannot be served", "database", i, "error", err)
			}
		})
	}
	all := make(chan struct{})
	go func() {
		running.Wait()
		close(all)
	}()
	r.watch(ctx, all)
	parent := ctx.Err()
	cancel()
	<-all

	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if parent != nil {
		return parent
	}
	var errs []error
	for _, h := range r.homes {
		errs = append(errs, h.failed)
	}
	return fmt.Errorf("pgbarrier: relay: no database can be served: %w", errors.Join(errs...))
}

// Drain begins the end: transports refuse new clients and send the others elsewhere. What is waited for goes on
// being answered until Run's context ends.
func (r *Relay) Drain() { r.drained.Do(func() { close(r.draining) }) }

// Draining is closed once Drain was called.
func (r *Relay) Draining() <-chan struct{} { return r.draining }
