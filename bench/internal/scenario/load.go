package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
)

const (
	producers = 64
	// loadThink is what a producer does inside its transaction after it has handed out the work.
	loadThink = time.Millisecond
	// patience is how long handlers may take after the last commit.
	patience = 5 * time.Second
)

// runLoad: producers in a closed loop, each one transaction after the other. Nobody waits for the handlers,
// which is why a contender that cannot keep up shows it in its latency.
func runLoad(ctx context.Context, l *Lab) error {
	about := fmt.Sprintf("%d producers, %v inside", producers, loadThink)
	keep := func(contender.Contender) bool { return true }
	return l.compare(ctx, "load", about, keep, func(c contender.Contender, db *Database, row *report.Row) error {
		w, err := c.Start(ctx, db.URL, producers)
		if err != nil {
			return err
		}
		defer func() { _ = w.Close() }() // measured already

		var perProducer [producers][]*contender.Job
		took, err := l.produce(ctx, db,
			func(conn *pgxpool.Conn) error { return l.warmUp(ctx, conn.Conn(), c, w) }, func() {},
			func(producer int, conn *pgxpool.Conn) error {
				job := contender.NewJob(l.nextID())
				perProducer[producer] = append(perProducer[producer], job)
				return transact(ctx, conn.Conn(), w, job, loadThink)
			})
		if err != nil {
			return err
		}
		summarize(ctx, c, perProducer[:], took, row)
		return nil
	})
}

// produce runs the producers for the duration, on connections that are open and warm before the clock starts.
func (l *Lab) produce(ctx context.Context, db *Database, warmUp func(*pgxpool.Conn) error, begin func(),
	once func(producer int, conn *pgxpool.Conn) error) (time.Duration, error) {
	conns := make([]*pgxpool.Conn, producers)
	var warm errgroup.Group
	for i := range conns {
		warm.Go(func() (err error) {
			if conns[i], err = db.Pool.Acquire(ctx); err != nil {
				return err
			}
			return warmUp(conns[i])
		})
	}
	err := warm.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Release()
			}
		}
	}()
	if err != nil {
		return 0, err
	}

	begin()
	producing, failed := errgroup.WithContext(ctx)
	begun := time.Now()
	for i, conn := range conns {
		producing.Go(func() error {
			for time.Since(begun) < l.Duration && failed.Err() == nil {
				if err := once(i, conn); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = producing.Wait()
	return time.Since(begun), err
}

// summarize waits for the handlers, but not longer than patience. Those that have not run by then count as
// if they ran then, so that they are not hidden.
func summarize(ctx context.Context, c contender.Contender, perProducer [][]*contender.Job, took time.Duration, row *report.Row) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var (
		commit, sent []time.Duration
		late         int
	)
	for _, jobs := range perProducer {
		for _, j := range jobs {
			commit = append(commit, j.CommitTook())
			if c.Silent {
				continue
			}
			select {
			case <-j.Ran():
			case <-ctx.Done():
				late++
			}
			sent = append(sent, j.SinceSent())
		}
	}
	row.Add("commits/s", float64(len(commit))/took.Seconds())
	addLatencies(row, "COMMIT ", commit)
	if !c.Silent {
		addLatencies(row, "sent→run ", sent)
		row.Add("late", float64(late))
	}
}
