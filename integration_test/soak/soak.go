package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// Config says what is to be endured.
type Config struct {
	URL       string
	Waits     int
	Rate      int // waits a second that end and are replaced
	Duration  time.Duration
	MaxGrowth float64
	Out       io.Writer
}

const (
	transactions = 40 // open at any time; each has its share of the waits
	churners     = 4
	samples      = 30
	minSamples   = 9
	// endBound is how long after its transaction a wait may end. Generous, for machines that do much else.
	endBound = 5 * time.Minute
)

// Run soaks, and returns what was measured. The error tells what was wrong.
func Run(ctx context.Context, config Config) (report *Report, err error) {
	report = new(Report)
	poolConfig, err := pgxpool.ParseConfig(config.URL)
	if err != nil {
		return report, err
	}
	poolConfig.MaxConns = transactions + churners
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return report, err
	}
	defer pool.Close()
	if err := pgbarrier.Migrate(ctx, pool); err != nil {
		return report, err
	}
	l, err := listener.New(pool, listener.Config{})
	if err != nil {
		return report, err
	}
	running, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- l.Run(running) }()
	defer func() {
		stop()
		if runErr := <-ran; !errors.Is(runErr, context.Canceled) {
			err = errors.Join(err, runErr)
		}
	}()
	select {
	case <-l.Ready():
	case <-ctx.Done():
		return report, ctx.Err()
	}

	c := &crowd{pool: pool, listener: l, batches: make([]*batch, transactions)}
	defer c.leave()
	if err := c.gather(ctx, config.Waits/transactions, report); err != nil {
		return report, err
	}
	if err := c.churn(ctx, config, report); err != nil {
		return report, err
	}
	report.print(config.Out)
	return report, report.verdict(config.MaxGrowth)
}

// A crowd is all that waits.
type crowd struct {
	pool     *pgxpool.Pool
	listener *listener.Listener
	batches  []*batch
	// Churning holds it for reading, a sample for writing: then every wait is open.
	still sync.RWMutex
}

// gather begins all waits, and measures what one takes.
func (c *crowd) gather(ctx context.Context, size int, report *Report) error {
	for i := range c.batches {
		b, err := begin(ctx, c.pool, size)
		if err != nil {
			return err
		}
		c.batches[i] = b
	}
	before := measure(c.listener)
	for _, b := range c.batches {
		b.subscribe(c.listener)
	}
	if err := c.settled(ctx, size*transactions); err != nil {
		return err
	}
	subscribed := measure(c.listener)
	for _, b := range c.batches {
		b.wait(c.listener)
	}
	if err := c.settled(ctx, size*transactions); err != nil {
		return err
	}
	waiting := measure(c.listener)
	report.HeapPerWait = perWait(subscribed.Heap, before.Heap, subscribed.Waiting)
	report.StackPerWaiter = perWait(waiting.Stack, subscribed.Stack, waiting.Waiting-subscribed.Waiting)
	report.HeapPerWaiter = perWait(waiting.Heap, subscribed.Heap, waiting.Waiting-subscribed.Waiting)
	return nil
}

// settled returns once every barrier is waited for and has been asked for.
func (c *crowd) settled(ctx context.Context, barriers int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for checks, last := 0, uint64(0); checks < 3; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		stats := c.listener.Stats()
		if stats.Pending == barriers && stats.Checks > last {
			checks, last = checks+1, stats.Checks
		}
	}
	return nil
}

// churn ends and replaces waits for the duration, and takes samples.
func (c *crowd) churn(ctx context.Context, config Config, report *Report) error {
	churning, stop := context.WithCancel(ctx)
	defer stop()
	report.header(config.Out)
	var tasks sync.WaitGroup
	failed := make(chan error, churners)
	pause := time.Duration(float64(config.Waits) / transactions / float64(config.Rate) * churners * float64(time.Second))
	for first := range churners {
		tasks.Go(func() {
			defer stop()
			tick := time.NewTicker(max(pause, time.Millisecond))
			defer tick.Stop()
			for i := first; churning.Err() == nil; i = (i + churners) % len(c.batches) {
				c.still.RLock()
				err := c.turn(ctx, i, report)
				c.still.RUnlock()
				if err != nil {
					failed <- err
					return
				}
				select {
				case <-churning.Done():
				case <-tick.C:
				}
			}
		})
	}
	tick := time.NewTicker(config.Duration / samples)
	defer tick.Stop()
	var started time.Time
	for churning.Err() == nil && (started.IsZero() || time.Since(started) < config.Duration || len(report.Samples) < minSamples) {
		select {
		case <-churning.Done():
		case <-tick.C:
		}
		// By then everything has been replaced once, and what is remembered has its size.
		if report.ended() < config.Waits {
			continue
		}
		if started.IsZero() {
			started = time.Now()
		}
		c.still.Lock()
		s := measure(c.listener)
		c.still.Unlock()
		s.At = time.Since(started)
		report.add(config.Out, s)
	}
	stop()
	tasks.Wait()
	close(failed)
	return errors.Join(<-failed, ctx.Err())
}

// turn ends the waits of one batch with its transaction, replaces them, and cancels and renews some of
// another's.
func (c *crowd) turn(ctx context.Context, i int, report *Report) error {
	old := c.batches[i]
	outcomes, err := old.end(ctx)
	report.count(outcomes)
	if err != nil {
		return err
	}
	b, err := begin(ctx, c.pool, len(old.tokens))
	if err != nil {
		return err
	}
	b.subscribe(c.listener)
	b.wait(c.listener)
	c.batches[i] = b
	report.count(c.batches[(i+churners)%len(c.batches)].renew(c.listener))
	return nil
}

func (c *crowd) leave() {
	for _, b := range c.batches {
		if b != nil {
			b.abandon()
		}
	}
}
