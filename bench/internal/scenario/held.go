package scenario

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	guardjetstream "github.com/pgbarrier/pgbarrier/contrib/jetstream"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

const (
	heldMessages     = 10_000
	heldTransactions = 50
)

func heldName(n int) string { return report.Thousands(n) + " held" }

// runHeld: messages of open transactions are taken by a JetStream worker; when it holds all of them the transactions
// commit. How many checks that takes depends on how long it lasts, and not on how many messages there are.
func runHeld(ctx context.Context, l *Lab) error {
	db, err := l.database(ctx, contender.Named(contender.NamePgbarrier))
	if err != nil {
		return err
	}
	defer db.Pool.Reset()
	broker, err := devbroker.Open(ctx, devbroker.NATS)
	if err != nil {
		return err
	}
	defer func() { _ = broker.Close() }() // measured already
	n := pick(l.Options, heldMessages, heldMessages/10)
	about := fmt.Sprintf("messages of %d open transactions in a JetStream worker, which commit when it holds them all", heldTransactions)
	table := l.Report.Table("held", about, heldName(heldMessages))
	return l.turns(table, func(_ int, row *report.Row) error {
		if err := l.settle(ctx, db); err != nil {
			return err
		}
		s, err := openStream(ctx, broker.URL)
		if err != nil {
			return err
		}
		defer s.remove(ctx)
		return l.held(ctx, db, s, n, row)
	})
}

func (l *Lab) held(ctx context.Context, db *Database, s *stream, n int, row *report.Row) error {
	jobs, commit, err := l.publishPending(ctx, db, s, n)
	defer commit() // what an error has left
	if err != nil {
		return err
	}
	w, err := contender.StartListener(ctx, db.URL, listener.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }() // measured already
	memory, checks := memoryInUse(), w.Stats().Checks
	begun := time.Now()
	stop, err := s.consumeGuarded(ctx, w, func() {})
	if err != nil {
		return err
	}
	defer stop()
	for w.Stats().Waiting < n {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(time.Millisecond)
	}
	row.Add("until held ms", milliseconds(time.Since(begun)))
	row.Add("B/message", (memoryInUse()-memory)/float64(n))

	begun = time.Now()
	if err := commit(); err != nil {
		return err
	}
	for _, job := range jobs {
		select {
		case <-job.Ran():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	row.Add("checks", float64(w.Stats().Checks-checks))
	row.Add("COMMITs→ran ms", milliseconds(time.Since(begun)))
	runtime.KeepAlive(jobs)
	return nil
}

// publishPending publishes n messages inside transactions, which commit commits.
func (l *Lab) publishPending(ctx context.Context, db *Database, s *stream, n int) (jobs []*contender.Job, commit func() error, err error) {
	var txs []pgx.Tx
	commit = func() error {
		var committing errgroup.Group
		for _, tx := range txs {
			committing.Go(func() error { return tx.Commit(ctx) })
		}
		txs = nil
		return committing.Wait()
	}
	for range heldTransactions {
		tx, err := db.Pool.Begin(ctx)
		if err != nil {
			return nil, commit, err
		}
		txs = append(txs, tx)
	}
	for range n {
		job := contender.NewJob(l.nextID())
		jobs = append(jobs, job)
		s.jobs.Store(strconv.FormatInt(job.ID, 10), job)
	}
	// Side by side, so that the stream has one's messages between the others'.
	var producing errgroup.Group
	for i, tx := range txs {
		producing.Go(func() error {
			inside := notify.WithTx(ctx, tx)
			for j := i; j < n; j += heldTransactions {
				if _, err := guardjetstream.Publish(inside, s.js, s.message(jobs[j]), ""); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return jobs, commit, producing.Wait()
}

// memoryInUse returns bytes of heap and of stacks that are in use after a collection: a held message has a goroutine.
func memoryInUse() float64 {
	heap := heapInUse()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return heap + float64(m.StackInuse)
}
