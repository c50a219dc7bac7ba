package scenario

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/sample"
)

// runLoad: producers in a closed loop, each one transaction after the other. Nobody waits for the
// handlers, which is why a contender that cannot keep up shows it in its latency.
func runLoad(ctx context.Context, l *Lab) error {
	contenders := l.contenders(func(contender.Contender) bool { return true })
	for _, f := range pick(l.Options, flushes, flushes[1:]) {
		if err := l.setFlush(ctx, f); err != nil {
			return err
		}
		for _, think := range pick(l.Options, []time.Duration{time.Millisecond, 10 * time.Millisecond}, []time.Duration{time.Millisecond}) {
			for _, producers := range pick(l.Options, []int{1, 8, 64, 256}, []int{8, 64}) {
				if err := l.loadCase(ctx, f, think, producers, contenders); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (l *Lab) loadCase(ctx context.Context, f flush, think time.Duration, producers int, contenders []contender.Contender) error {
	name := fmt.Sprintf("%s, think %v, %s", countOf(producers, "producer"), think, f.name)
	if l.skips(name) {
		return nil
	}
	table := l.Report.Table("2 load", name)
	table.Baseline, table.Ratio = contender.NameUnannounced, "commits/s"
	table.Params["producers"], table.Params["think ms"], table.Params["commit_delay"] = float64(producers), sample.Milliseconds(think), float64(f.delay)
	rowsInOrder(table, contenders)
	return l.rounds(ctx, "2 load, "+name, contenders, func(c contender.Contender, db *Database) error {
		found, err := l.load(ctx, c, db, producers, think)
		if err != nil {
			return err
		}
		row := table.Row(c.Name)
		row.Add("commits/s", found.commitsPerSecond)
		row.Add("COMMIT p50 ms", found.commit.P50)
		row.Add("COMMIT p99 ms", found.commit.P99)
		if !c.Silent {
			row.Add("sent→run p50 ms", found.sinceSent.P50)
			row.Add("sent→run p99 ms", found.sinceSent.P99)
			row.Add("returned→run p50 ms", found.sinceReturned.P50)
			row.Add("late", float64(found.late))
		}
		return nil
	})
}

// A load is what one contender did in one round.
type load struct {
	commitsPerSecond                 float64
	commit, sinceSent, sinceReturned sample.Latencies
	late                             int // handlers that had not run when we stopped waiting for them
}

// load runs producers for the duration and then waits for the handlers.
func (l *Lab) load(ctx context.Context, c contender.Contender, db *Database, producers int, think time.Duration) (load, error) {
	if err := l.settle(ctx, db); err != nil {
		return load{}, err
	}
	w, err := c.Start(ctx, db.URL, producers)
	if err != nil {
		return load{}, err
	}
	defer func() { _ = w.Close() }() // measured already
	jobs, took, err := l.produce(ctx, c, db, w, producers, think)
	if err != nil {
		return load{}, err
	}
	return summarize(ctx, c, jobs, took, pick(l.Options, 10*time.Second, time.Second)), nil
}

// produce runs the producers on connections that are open before the clock starts.
func (l *Lab) produce(ctx context.Context, c contender.Contender, db *Database, w contender.Worker, producers int, think time.Duration) ([]*contender.Job, time.Duration, error) {
	ready, g := make(chan struct{}), errgroup.Group{}
	connected := make(chan struct{}, producers)
	perProducer := make([][]*contender.Job, producers)
	failed, fail := context.WithCancel(ctx)
	defer fail()
	var begun time.Time
	for i := range producers {
		g.Go(func() error {
			conn, err := db.Pool.Acquire(ctx)
			if err != nil {
				fail()
				return err
			}
			defer conn.Release()
			// Also prepares the statements.
			if err := l.warmUp(ctx, conn.Conn(), c, w); err != nil {
				fail()
				return err
			}
			connected <- struct{}{}
			<-ready
			for time.Since(begun) < l.Duration && failed.Err() == nil {
				job := contender.NewJob(l.nextID())
				if err := transact(ctx, conn.Conn(), w, job, think); err != nil {
					fail()
					return err
				}
				perProducer[i] = append(perProducer[i], job)
			}
			return nil
		})
	}
	for range producers {
		select {
		case <-connected:
		case <-failed.Done():
		}
	}
	begun = time.Now()
	close(ready)
	err := g.Wait()
	took := time.Since(begun)
	var jobs []*contender.Job
	for _, some := range perProducer {
		jobs = append(jobs, some...)
	}
	return jobs, took, err
}

// summarize waits for the handlers, but not longer than patience. Those that have not run by then count
// as if they ran then, so that they are not hidden.
func summarize(ctx context.Context, c contender.Contender, jobs []*contender.Job, took, patience time.Duration) load {
	found := load{commitsPerSecond: float64(len(jobs)) / took.Seconds()}
	var commit, sent, returned []time.Duration
	over := time.NewTimer(patience)
	defer over.Stop()
	tired := false
	for _, j := range jobs {
		commit = append(commit, j.CommitTook())
		if c.Silent {
			continue
		}
		if !tired {
			select {
			case <-j.Ran():
			case <-over.C:
				tired = true
			case <-ctx.Done():
				tired = true
			}
		}
		select {
		case <-j.Ran():
		default:
			found.late++
		}
		sent, returned = append(sent, j.SinceSent()), append(returned, j.SinceReturned())
	}
	found.commit, found.sinceSent, found.sinceReturned = sample.LatenciesOf(commit), sample.LatenciesOf(sent), sample.LatenciesOf(returned)
	return found
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
