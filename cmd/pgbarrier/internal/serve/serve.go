package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/relay"
)

// Config is what pgbarrier serve was told.
type Config struct {
	Databases []string // connection strings; none: a throwaway server
	PollOnly  bool
	Retention time.Duration // of listener.Config

	NATS NATSConfig
	HTTP HTTPConfig

	MaxTokens int
	// Linger is for how long a relay that drains goes on answering probes and refusing requests, until whatever sends
	// them knows. Grace is how long it waits after that for requests to end.
	Linger, Grace time.Duration

	Log *slog.Logger
	Out io.Writer // is told where to find what is served
}

// A part of the service runs until its context ends.
type part struct {
	name string
	run  func(ctx context.Context) error
}

// Run serves until ctx ends, and then drains. It returns nil after that, and an error if something cannot be served.
func Run(ctx context.Context, config Config) (err error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	bases, closeBases, err := openDatabases(ctx, config)
	defer closeBases()
	if err != nil {
		return err
	}
	r, err := relay.New(relay.Config{Databases: bases, MaxTokens: config.MaxTokens, Logger: config.Log})
	if err != nil {
		return err
	}

	// What is opened here fails at once if an address is taken.
	var parts []part
	if config.NATS.URL != "" {
		n, err := openNATS(config)
		if err != nil {
			return err
		}
		defer n.close()
		parts = append(parts, part{"NATS", func(ctx context.Context) error { return n.serve(ctx, r, config.Log) }})
	}
	if config.HTTP.Address != "" {
		h, err := openHTTP(r, config)
		if err != nil {
			return err
		}
		defer h.close()
		parts = append(parts, part{"HTTP", h.serve})
	}
	return runParts(ctx, r, parts, config)
}

// runParts runs the relay and the parts. They end in this order, when ctx ends or one of them has failed.
func runParts(ctx context.Context, r *relay.Relay, parts []part, config Config) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	relayEnded := make(chan error, 1)
	go func() { relayEnded <- r.Run(running) }()
	failed := make(chan error, len(parts))
	ended := make(chan error, len(parts))
	serving, stopServing := context.WithCancel(running)
	defer stopServing()
	for _, p := range parts {
		go func() {
			err := p.run(serving)
			if err != nil && serving.Err() == nil {
				failed <- fmt.Errorf("serve over %s: %w", p.name, err)
			}
			ended <- err
		}()
	}

	var reason error
	left := len(parts)
	select {
	case <-ctx.Done():
		config.Log.Info("pgbarrier: draining", "linger", config.Linger, "grace", config.Grace)
	case reason = <-failed:
	case reason = <-relayEnded:
		relayEnded <- nil
		stopServing()
	}
	r.Drain()
	over := time.NewTimer(config.Linger + config.Grace + time.Second)
	defer over.Stop()
	for left > 0 {
		select {
		case <-ended:
			left--
		case <-over.C:
			stopServing()
		}
	}
	stop()
	<-relayEnded
	config.Log.Info("pgbarrier: stopped", "waits_without_outcome", r.Stats().Closed)
	return reason
}

// openDatabases makes a listener for each database, which it does not connect to yet: a relay may start before them.
func openDatabases(ctx context.Context, config Config) (bases []relay.Database, closeAll func(), err error) {
	var closers []func()
	closeAll = func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	urls := config.Databases
	if len(urls) == 0 {
		config.Log.Info("pgbarrier: no database was named: starting a throwaway PostgreSQL")
		server, err := devpg.Start(ctx, devpg.Config{})
		if err != nil {
			return nil, closeAll, fmt.Errorf("%w\nor name a database: --database, or DATABASE_URL", err)
		}
		closers = append(closers, func() { _ = server.Close() })
		urls = []string{server.URL()}
		pool, err := pgxpool.New(ctx, server.URL())
		if err != nil {
			return nil, closeAll, err
		}
		err = pgbarrier.Migrate(ctx, pool)
		pool.Close()
		if err != nil {
			return nil, closeAll, err
		}
		fmt.Fprintf(config.Out, "database  %s   (a throwaway server, gone when this ends: name yours with --database)\n", server.URL())
	}
	for _, url := range urls {
		parsed, err := pgxpool.ParseConfig(url)
		if err != nil {
			return nil, closeAll, fmt.Errorf("a connection string is not one: %w", err)
		}
		if parsed.ConnConfig.RuntimeParams["application_name"] == "" {
			parsed.ConnConfig.RuntimeParams["application_name"] = "pgbarrier serve"
		}
		pool, err := pgxpool.NewWithConfig(ctx, parsed)
		if err != nil {
			return nil, closeAll, err
		}
		closers = append(closers, pool.Close)
		l, err := listener.New(pool, listener.Config{PollOnly: config.PollOnly, Retention: config.Retention, Logger: config.Log})
		if err != nil {
			return nil, closeAll, err
		}
		bases = append(bases, l)
	}
	return bases, closeAll, nil
}

// errEnded is why a part that should serve for ever did not.
var errEnded = errors.New("it ended by itself")
