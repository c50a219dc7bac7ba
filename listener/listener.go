package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/dial"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// A Listener ends waits for barriers of one database. Its methods may be called by any number of
// goroutines at once.
type Listener struct {
	config   Config
	pool     *pgxpool.Pool // for purging only
	outside  dial.Dialer   // check connections and those of probes
	direct   dial.Dialer   // LISTEN connections
	conn     *checkConn
	waits    *waitSet
	ready    chan struct{}
	begun    atomic.Bool
	reminder sync.Once
}

// New returns a listener for the pool's database, which must be the primary. It connects to nothing
// and starts nothing before [Listener.Run]; waits that begin before wait for it.
//
// The pool purges, if Config.Retention asks for it, and tells how to connect: the listener's own connections (one
// listens, one checks, and now and then one sends a probe) have its configuration and hooks, but not its query
// tracer, see [Trace]. The role needs USAGE on schema pgbarrier and EXECUTE on pgbarrier.version() and
// pgbarrier.check(uuid[], xid8[]).
func New(pool *pgxpool.Pool, config Config) (*Listener, error) {
	if pool == nil {
		return nil, errors.New("pgbarrier: listener: the pool is nil: make one with pgxpool.New")
	}
	config, direct, err := config.complete()
	if err != nil {
		return nil, err
	}
	l := &Listener{config: config, pool: pool, waits: newWaitSet(config.Trace.Resolved), ready: make(chan struct{})}
	l.outside = dial.Dialer{Pool: pool.Config()}
	l.direct = dial.Dialer{Pool: l.outside.Pool, Direct: direct}
	l.conn = newCheckConn(l.outside, l.waits.recheck)
	return l, nil
}

// Run does the listener's work until ctx ends, and returns ctx.Err(). It returns early if the server
// that it first reaches can never answer: pgbarrier.ErrNotMigrated, pgbarrier.ErrStandby, or what the
// server said of a missing grant or a wrong password. An outage is no reason to return, then or later:
// Run reconnects for as long as it takes.
//
// When Run returns, all its goroutines and connections are gone and every wait has ended, those
// without an outcome with pgbarrier.ErrClosed. A Listener runs once.
func (l *Listener) Run(ctx context.Context) error {
	if l.begun.Swap(true) {
		return errors.New("pgbarrier: listener: Run was called before: a Listener runs once, make another")
	}
	err := l.run(ctx)
	if ctx.Err() != nil {
		l.waits.close(pgbarrier.ErrClosed, nil)
		return ctx.Err()
	}
	l.waits.close(fmt.Errorf("%w (%w)", pgbarrier.ErrClosed, err), err)
	return err
}

func (l *Listener) run(ctx context.Context) error {
	defer l.conn.drop()
	if err := l.awaitServer(ctx); err != nil {
		return err
	}
	c := newChecker(l.waits, l.config, l.conn)
	c.ask, c.count = l.conn.check, l.conn.countSessions
	var tasks sync.WaitGroup
	defer tasks.Wait()
	if l.config.PollOnly {
		close(l.ready)
	} else {
		r := newReceiver(l.waits, l.config)
		r.dial, r.probe, r.holder, r.ready = l.direct.Dial, l.sendProbe, l.conn.notifyHolder, sync.OnceFunc(func() { close(l.ready) })
		c.makeRoom = r.giveBack
		tasks.Go(func() { r.watch(ctx) })
		tasks.Go(func() { r.listen(ctx) })
	}
	tasks.Go(func() { c.run(ctx) })
	if l.config.Retention > 0 {
		purge := func(ctx context.Context) (int64, error) { return pgbarrier.Purge(ctx, l.pool, l.config.Retention) }
		tasks.Go(func() { keepPurging(ctx, l.config.Retention, l.config.Logger, purge) })
	}
	<-ctx.Done()
	return ctx.Err()
}

// awaitServer returns nil once the server has shown that it can answer checks. Only an answer that
// waiting would not change is an error.
func (l *Listener) awaitServer(ctx context.Context) error {
	delay := minReconnect
	for {
		err := l.conn.do(ctx, func(ctx context.Context, conn *pgx.Conn) error { return pgbarrier.CheckSchema(ctx, conn) })
		var answer wire.Answer
		if err == nil {
			answer, err = l.conn.check(ctx, nil) // the grant, and that it is the primary
		}
		l.waits.note(func(s *stats) { s.listenErr = err })
		switch {
		case err == nil:
			l.waits.apply(nil, answer)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !wire.IsOutage(err) && !errors.Is(err, dial.ErrHook): // breakage: hook failure does not end Run
			return err
		}
		l.config.Logger.Warn("pgbarrier: cannot reach the server, waits go on until it is there", "error", err, "retry_in", delay)
		sleep(ctx, delay/2+rand.N(delay))
		delay = min(2*delay, maxReconnect)
	}
}

// Ready is closed once the listener hears announcements (with Config.PollOnly: once it has reached
// the server). Waits may begin before; what is committed before is found by their first check.
func (l *Listener) Ready() <-chan struct{} { return l.ready }

// keepPurging purges a few times per retention, and at least hourly, until ctx ends. Any number of processes
// may do so: the server lets one purge at a time, and to the others there is nothing to do.
func keepPurging(ctx context.Context, retention time.Duration, log *slog.Logger, purge func(ctx context.Context) (int64, error)) {
	interval := min(retention/4, time.Hour)
	for {
		// Random, so that processes started together do not purge together.
		sleep(ctx, interval/2+rand.N(interval))
		if ctx.Err() != nil {
			return
		}
		if n, err := purge(ctx); err != nil && ctx.Err() == nil {
			log.Warn("pgbarrier: cannot purge", "error", err)
		} else if n > 0 {
			log.Info("pgbarrier: purged", "barriers", n)
		}
	}
}
