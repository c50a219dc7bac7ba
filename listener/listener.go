package listener

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// A Listener ends waits for barriers of one database. Its methods may be called by any number of
// goroutines at once.
type Listener struct {
	config Config
	pool   *pgxpool.Pool // for purging only
	query  *queryConn
	watch  *queryConn // never through a pooler: it is busy all the time
	listen dialer
	waits  *waitSet
	status status
	ready  chan struct{}
	begun  atomic.Bool
}

// New returns a listener for the pool's database, which must be the primary. It connects to nothing
// and starts nothing before [Listener.Run]; waits that begin before wait for it.
//
// The pool tells how to connect, and purges if Config.Retention asks for it. The listener's own
// connections are outside of the pool: one that listens, one that checks, one that watches. The role needs USAGE on
// schema pgbarrier and EXECUTE on pgbarrier.version(), pgbarrier.check(text[]) and
// pgbarrier.watch(text[], xid8[], integer, integer).
func New(pool *pgxpool.Pool, config Config) (*Listener, error) {
	if pool == nil {
		return nil, errors.New("pgbarrier: listener: the pool is nil: make one with pgxpool.New")
	}
	config, direct, err := config.complete()
	if err != nil {
		return nil, err
	}
	dial := dialer{config: pool.Config()}
	listen := dialer{config: dial.config, direct: direct}
	waits := newWaitSet(config.Trace.Resolved)
	waits.hearing(false) // nothing does yet
	return &Listener{
		config: config,
		pool:   pool,
		query:  newQueryConn(dial, waits.lostCheck),
		watch:  newQueryConn(listen, waits.recheck),
		listen: listen,
		waits:  waits,
		ready:  make(chan struct{}),
	}, nil
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
		l.waits.close(pgbarrier.ErrClosed)
		return ctx.Err()
	}
	l.waits.close(fmt.Errorf("%w (%w)", pgbarrier.ErrClosed, err))
	return err
}

func (l *Listener) run(ctx context.Context) error {
	defer l.query.close()
	defer l.watch.close()
	if err := l.awaitServer(ctx); err != nil {
		return err
	}
	checker := &checker{
		waits:  l.waits,
		judge:  l.query.judge,
		pace:   pace{l.config.MinDelay, l.config.MaxDelay},
		rest:   untilReady,
		status: &l.status,
		log:    l.config.Logger,
		trace:  l.config.Trace.Checked,
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { checker.run(ctx) })
	if l.config.Retention > 0 {
		purger := &purger{
			purge:     func(ctx context.Context) (int64, error) { return pgbarrier.Purge(ctx, l.pool, l.config.Retention) },
			retention: l.config.Retention,
			log:       l.config.Logger,
		}
		tasks.Go(func() { purger.run(ctx) })
	}
	if l.config.PollOnly {
		close(l.ready)
		<-ctx.Done()
		return ctx.Err()
	}
	receiver := &receiver{
		waits:     l.waits,
		listen:    l.listen.listen,
		notify:    l.query.notify,
		heartbeat: l.config.Heartbeat,
		pause:     around,
		rest:      untilReady,
		ready:     func() { close(l.ready) },
		status:    &l.status,
		log:       l.config.Logger,
		trace:     l.config.Trace,
	}
	receiver.run(ctx)
	return ctx.Err()
}

// awaitServer returns nil once the server has shown that it can answer checks. Only an answer that
// waiting would not change is an error.
func (l *Listener) awaitServer(ctx context.Context) error {
	delay := minReconnect
	for {
		err := l.query.checkSchema(ctx)
		if err == nil {
			_, err = l.query.judge(ctx, nil) // the grant, and that it is the primary
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !wire.IsOutage(err) && !errors.Is(err, errHook):
			return err
		}
		l.status.disconnected(err)
		l.config.Logger.Warn("pgbarrier: cannot reach the server, waits go on until it is there", "error", err, "retry_in", delay)
		sleep(ctx, around(delay))
		delay = min(2*delay, maxReconnect)
	}
}

// Ready is closed once the listener hears announcements (with Config.PollOnly: once it has reached
// the server). Waits may begin before; what is committed before is found by their first check.
func (l *Listener) Ready() <-chan struct{} { return l.ready }

// Wait returns nil once the transactions of all the tokens have committed and can be read on the
// primary. It returns a *pgbarrier.TokenError as soon as one of them is known not to: ErrAborted,
// ErrExpired, ErrWrongDatabase, ErrInvalidToken. If ctx ends first it returns ctx.Err(), and if Run
// returns, pgbarrier.ErrClosed: then the wait has no outcome. A database outage delays a wait and
// never ends it.
func (l *Listener) Wait(ctx context.Context, tokens ...pgbarrier.Token) error {
	sub := l.Subscribe(tokens...)
	defer sub.Close()
	select {
	case <-sub.Done():
		return sub.Err()
	case <-ctx.Done():
	}
	if err := sub.Err(); !errors.Is(err, ErrPending) {
		return err
	}
	return ctx.Err()
}

// Subscribe begins a wait for all of the tokens and returns at once. What Wait says of errors holds
// for [Subscription.Err]. The caller must close the subscription.
func (l *Listener) Subscribe(tokens ...pgbarrier.Token) *Subscription {
	if len(tokens) == 0 {
		return l.refuse(fmt.Errorf("pgbarrier: wait: %w: there is none to wait for", pgbarrier.ErrInvalidToken))
	}
	for _, t := range tokens {
		if err := t.Valid(); err != nil {
			return l.refuse(fmt.Errorf("pgbarrier: wait: %w", err))
		}
	}
	return l.waits.subscribe(tokens)
}

func (l *Listener) refuse(err error) *Subscription {
	sub := &Subscription{set: l.waits, done: make(chan struct{}), err: err}
	close(sub.done)
	return sub
}
