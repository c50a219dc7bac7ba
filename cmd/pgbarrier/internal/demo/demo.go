package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
	"github.com/pgbarrier/pgbarrier/listener"
)

// Config says how the demonstration runs.
type Config struct {
	// DatabaseURL names the database. Empty: a throwaway server.
	DatabaseURL string
	// Queue is what messages go through: "channel", which is the default, "nats", "redis" or "rabbitmq".
	Queue string
	// Requests is how many come in at each approach, at requestsPerSecond.
	Requests int
	// Producer makes the command of a producer process, which calls [Produce] for the approach with
	// the database's URL, the queue's address and its stdin and stdout.
	Producer func(ctx context.Context, databaseURL, queue, approach string) *exec.Cmd
	// Progress is where progress is shown.
	Progress io.Writer
}

const (
	// requestsPerSecond leaves a small machine room to breathe: latencies are of the barrier then,
	// not of a queue in front of a processor.
	requestsPerSecond = 500
	workerConnections = 8
)

// Run runs the demonstration and returns its numbers. Whatever it made is gone when it returns, also
// when ctx ends.
func Run(ctx context.Context, c Config) (result Result, err error) {
	progress := newProgress(c.Progress)
	defer progress.End()
	if c.Queue == "" {
		c.Queue = defaultKind
	}
	kind, ok := kinds[c.Queue]
	if !ok {
		return result, fmt.Errorf("no queue is named %q", c.Queue)
	}
	var brokerURL string
	if kind.broker != nil {
		progress.say(fmt.Sprintf("starting %s", kind.broker))
		broker, err := devbroker.Open(ctx, kind.broker)
		if err != nil {
			return result, err
		}
		defer func() { _ = broker.Close() }()
		brokerURL = broker.URL
	}
	base, err := openBase(ctx, c.DatabaseURL, progress)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, base.close()) }()
	if err := base.prepare(ctx, c.Requests); err != nil {
		return result, err
	}
	result.Server = base.description
	result.Queue, result.Requests = c.Queue, c.Requests
	requests, err := base.requests(ctx)
	if err != nil {
		return result, err
	}
	progress.introduce(base, kind, requests)
	for _, a := range approaches {
		d := &demonstration{Config: c, base: base, brokerURL: brokerURL, approach: a, requests: requests, progress: progress}
		if err := d.run(ctx); err != nil {
			if ctx.Err() != nil {
				return result, ctx.Err()
			}
			return result, fmt.Errorf("%s: %w", strings.TrimSpace(a.title), err)
		}
		counts, err := base.count(ctx, a)
		if err != nil {
			return result, err
		}
		result.Approaches = append(result.Approaches, counts)
	}
	return result, nil
}

// A demonstration is the load, run by one approach.
type demonstration struct {
	Config
	base      *base
	brokerURL string
	approach  approach
	requests  []request
	progress  *progress
}

func (d *demonstration) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q, at, err := d.openQueue(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		err = errors.Join(err, q.remove(ctx))
	}()
	waiter := guard.Eager // messages without a barrier ask it nothing
	if d.approach.barrier {
		l, stop, err := d.listen(ctx)
		if err != nil {
			return err
		}
		defer stop()
		waiter = l
	}
	worker := &worker{approach: d.approach.name, pool: d.base.pool}
	worked, produced := make(chan error, 1), make(chan struct{})
	go func() { worked <- worker.run(ctx, q, waiter, produced) }()

	shown := make(chan struct{})
	watched, stopWatching := context.WithCancel(ctx)
	go func() {
		defer close(shown)
		d.progress.watch(watched, d.base, d.approach, len(d.requests))
	}()
	defer func() {
		stopWatching()
		<-shown
	}()

	orders := &service{
		command: func(ctx context.Context) *exec.Cmd { return d.Producer(ctx, d.base.url, at, d.approach.name) },
		message: func(Message) {},
		killed:  func() { d.base.note(ctx, d.approach, killedProducer) },
		running: map[*exec.Cmd]int{},
	}
	if messages, ok := q.(channel); ok {
		orders.message = func(m Message) { messages <- m }
	}
	served := orders.run(ctx, d.arrivals(ctx))
	if served == nil {
		// Messages that are waited for must not depend on who is left to commit them.
		served = d.base.awaitProducersGone(ctx)
	}
	close(produced)
	if served != nil {
		cancel()
	}
	if err := <-worked; served == nil {
		served = err
	}
	if served != nil {
		return served
	}
	return d.base.saveCommits(ctx, d.approach, orders.commits)
}

// openQueue makes a queue, and returns the address that producer processes have for it.
func (d *demonstration) openQueue(ctx context.Context) (q queue, at string, err error) {
	kind := kinds[d.Queue]
	if kind.open == nil {
		return make(channel, len(d.requests)), "", nil
	}
	name := "pgbarrier-demo-" + rand.Text()
	q, err = kind.open(ctx, d.brokerURL, name)
	return q, address{d.Queue, d.brokerURL, name}.String(), err
}

// listen starts the worker's listener and, if the approach says so, what kills its connection.
func (d *demonstration) listen(ctx context.Context) (l *listener.Listener, stop func(), err error) {
	pool, err := newPool(ctx, d.base.url, listenerApplication, 1)
	if err != nil {
		return nil, nil, err
	}
	if l, err = listener.New(pool, listener.Config{}); err != nil {
		pool.Close()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		if d.approach.cut {
			d.base.cutListen(ctx, d.approach)
		}
	}()
	stop = func() {
		cancel()
		<-cut
		<-ran //nolint:errcheck // the context's error, that cancel has just caused
		pool.Close()
	}
	select {
	case <-l.Ready():
		return l, stop, nil
	case err := <-ran:
		ran <- err
		stop()
		return nil, nil, err
	}
}

// arrivals hands out the requests at an even rate.
func (d *demonstration) arrivals(ctx context.Context) <-chan request {
	requests := make(chan request)
	go func() {
		defer close(requests)
		tick := time.NewTicker(time.Second / requestsPerSecond)
		defer tick.Stop()
		for _, r := range d.requests {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case <-ctx.Done():
				return
			case requests <- r:
			}
		}
	}()
	return requests
}

// newPool returns a pool of at most conns connections that bear a name.
func newPool(ctx context.Context, databaseURL, application string, conns int32) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = conns
	config.ConnConfig.RuntimeParams["application_name"] = application
	return pgxpool.NewWithConfig(ctx, config)
}

// connect is newPool with a look whether the server answers.
func connect(ctx context.Context, databaseURL, application string, conns int32) (*pgxpool.Pool, error) {
	pool, err := newPool(ctx, databaseURL, application, conns)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}
