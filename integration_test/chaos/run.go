package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/integration_test/internal/badnet"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// chaos is one run.
type chaos struct {
	opts    options
	out     *log.Logger // a line at a time
	started time.Time
	server  *devpg.Server
	admin   *pgxpool.Pool // straight to the server, as superuser
	net     *network
	fleet   []*slot

	ctx   context.Context // ends when the run is given up: waits then have no outcome
	hurry context.Context // ends when nothing new is begun any more: pauses are cut short

	outages      outages
	terminations spans // of producers' sessions, without an outage
	cleaned      spans // from a cleaner until all barriers that are new are safe from its mark
	ledger       ledger
	verdict      verdict
	latency      latencies
	quiet        atomic.Bool  // announcing is off for new barriers
	unprepared   atomic.Int64 // those who want nothing to stay prepared
	cleaning     sync.Mutex   // one cleaner at a time

	working   sync.WaitGroup // messages
	resolving sync.WaitGroup // prepared transactions

	messages                                     atomic.Int64 // being worked on
	failed, canceled, redelivered, closed, reads atomic.Int64
	tried, missed, asyncLost                     atomic.Int64
	waiting                                      sync.Map // who is among the delayed
	delayed                                      atomic.Int64
	ended                                        [len(endings)]atomic.Int64
	timed                                        [len(timeoutKinds)]atomic.Int64
	injected                                     []atomic.Int64 // by fault
}

// settings make a server on which a crash takes asynchronous commits, that has room for everybody, and on which a
// commit that asks for it waits for ever, see holdNotify.
var settings = map[string]string{
	"wal_writer_delay":          "10s",
	"wal_writer_flush_after":    "1GB",
	"max_prepared_transactions": "500",
	"max_connections":           "300",
	"synchronous_standby_names": "nobody",
	"synchronous_commit":        "local",
}

const schema = `CREATE SCHEMA chaos;
	CREATE TABLE chaos.truth (key bigint PRIMARY KEY);
	CREATE ROLE chaos_stranger`

// run makes a run and judges it. The error is that of a run that could not be made.
func run(ctx context.Context, o options, out io.Writer) (s *summary, err error) {
	c := &chaos{opts: o, out: log.New(out, "", 0), started: time.Now(),
		injected: make([]atomic.Int64, len(faults))}
	if c.server, err = devpg.Start(ctx, devpg.Config{Settings: settings}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.server.Close()) }()
	config, err := pgxpool.ParseConfig(c.server.URL())
	if err != nil {
		return nil, err
	}
	config.MaxConns = 24
	// The truth must not be read, nor a fault made, by who is terminated himself.
	config.ConnConfig.RuntimeParams["application_name"] = "chaos"
	if c.admin, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	defer c.admin.Close()
	if err := pgbarrier.Migrate(ctx, c.admin); err != nil {
		return nil, err
	}
	for _, sql := range []string{schema, "CREATE DATABASE " + elsewhere} {
		if _, err := c.admin.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	target, err := url.Parse(c.server.URL())
	if err != nil {
		return nil, err
	}
	proxy, err := badnet.New(target.Host)
	if err != nil {
		return nil, err
	}
	defer proxy.Close()
	c.net = &network{Proxy: proxy, now: c.now}
	fmt.Fprintf(out, "PostgreSQL %d, seed %d, %v, %d producers, %d listeners\n",
		c.server.Major(), o.seed, o.duration, o.producers, o.listeners)
	return c.run(ctx)
}

func (c *chaos) run(ctx context.Context) (*summary, error) {
	var giveUp, hurry context.CancelFunc
	c.ctx, giveUp = context.WithCancel(context.Background())
	defer giveUp()
	c.hurry, hurry = context.WithCancel(c.ctx)
	defer hurry()
	c.verdict.stop = hurry
	log := slog.New(slog.DiscardHandler)
	if c.opts.verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if err := c.newFleet(ctx, c.opts.listeners, log, giveUp); err != nil {
		return nil, err
	}
	c.started = time.Now()

	var background, active sync.WaitGroup
	watching, unwatch := context.WithCancel(context.Background())
	defer unwatch()
	background.Go(func() { c.watch(watching, giveUp) })
	background.Go(func() { c.tellProgress(watching) })

	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	active.Go(func() {
		defer cancel()
		c.last(limited)
	})
	stopOn := context.AfterFunc(c.hurry, cancel) // something was wrong
	defer stopOn()
	for i := range c.opts.producers {
		p := &producer{chaos: c, number: i}
		active.Go(func() { p.run(limited) })
	}
	active.Go(func() { c.tidy(limited) })
	faultErr := c.injectFaults(limited) // leaves the server up, or says that it cannot
	if faultErr != nil {
		giveUp()
	}
	cancel()
	active.Wait()
	took := c.now()
	hurry()
	c.resolving.Wait()
	c.working.Wait() // ended by giveUp if a wait is lost
	stats := make([]listenerSummary, len(c.fleet))
	for i, s := range c.fleet {
		stats[i] = listenerSummary{Name: s.name, Stats: s.close()}
	}
	unwatch()
	background.Wait()
	if faultErr != nil {
		return nil, faultErr
	}
	if err := c.verify(context.Background(), true); err != nil {
		return nil, err
	}
	return c.summarize(took, stats), nil
}

func (c *chaos) now() moment { return time.Since(c.started) }

// last returns after the duration, and when as much has happened as was asked for.
func (c *chaos) last(ctx context.Context) {
	for now := c.now(); now < c.opts.duration || c.ledger.made.Load() < c.opts.barriers || c.tried.Load() < c.opts.faults; now = c.now() {
		if !sleep(ctx, 10*time.Millisecond) {
			return
		}
	}
}

// tidy does what an administrator's jobs do all the time.
func (c *chaos) tidy(ctx context.Context) {
	r := random(c.opts.seed, 2000, 0)
	for sleep(ctx, c.opts.retention/10+upTo(r, c.opts.retention/10)) {
		if _, err := pgbarrier.Purge(ctx, c.admin, c.opts.retention); err != nil && ctx.Err() == nil && !wire.IsOutage(err) {
			c.fail(wrong, nil, "purging failed: "+err.Error())
		}
	}
}
