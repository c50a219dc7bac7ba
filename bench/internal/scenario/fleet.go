package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/sample"
	"github.com/pgbarrier/pgbarrier/notify"
)

const fleetProducers = 64

// runFleet: real processes, each with a listener of its own. Every token goes to one of them, in turns.
func runFleet(ctx context.Context, l *Lab) error {
	if err := l.setFlush(ctx, flushes[1]); err != nil {
		return err
	}
	producers := pick(l.Options, fleetProducers, 8)
	table := l.Report.Table("6 fleet", fmt.Sprintf("%d producers, think 1ms, %s", producers, flushes[1].name))
	table.Baseline, table.Ratio = rowOfFleet(1), "commits/s"
	db, err := l.database(ctx, contender.Named(contender.NamePgbarrier))
	if err != nil {
		return err
	}
	sizes := pick(l.Options, []int{1, 8, 32, 128}, []int{1, 4})
	for _, n := range sizes {
		table.Row(rowOfFleet(n))
	}
	for round := range l.Rounds {
		for _, n := range sizes {
			l.Progress(fmt.Sprintf("6 fleet · round %d/%d · %s", round+1, l.Rounds, rowOfFleet(n)))
			if err := l.fleet(ctx, db, n, producers, table.Row(rowOfFleet(n)).Add); err != nil {
				return fmt.Errorf("%s: %w", rowOfFleet(n), err)
			}
			db.Pool.Reset()
		}
	}
	return nil
}

func rowOfFleet(n int) string {
	if n == 1 {
		return "1 listening process"
	}
	return fmt.Sprintf("%d listening processes", n)
}

// A fleetJob is one transaction, whose wait is in another process: its times are of the wall clock, which
// all processes of a machine share.
type fleetJob struct {
	process        *fleetProcess
	number         int64
	sent, returned time.Time
}

func (l *Lab) fleet(ctx context.Context, db *Database, n, producers int, add func(string, float64)) (err error) {
	if err := l.settle(ctx, db); err != nil {
		return err
	}
	processes, err := startFleet(ctx, db.URL, n)
	ended := false
	end := func() (err error) {
		for _, p := range processes {
			err = errors.Join(err, p.end())
		}
		ended = true
		return err
	}
	defer func() {
		if !ended {
			err = errors.Join(err, end())
		}
	}()
	if err != nil {
		return err
	}
	conns, release, err := acquire(ctx, db, producers)
	if err != nil {
		return err
	}
	defer release() // after the CPU time of their backends has been read
	cpu, begun := l.serverCPU(ctx), time.Now()
	jobs, err := l.fleetJobs(ctx, conns, processes)
	if err != nil {
		return err
	}
	took := time.Since(begun)
	used := cpuBetween(cpu, l.serverCPU(ctx))
	time.Sleep(pick(l.Options, 2*time.Second, 200*time.Millisecond)) // the last waits
	if err := end(); err != nil {
		return err
	}
	var sent, returned []time.Duration
	late := 0
	for _, j := range jobs {
		at, ok := j.process.ran(j.number)
		if !ok {
			late++
			continue
		}
		sent, returned = append(sent, max(0, at.Sub(j.sent))), append(returned, max(0, at.Sub(j.returned)))
	}
	var checks uint64
	for _, p := range processes {
		checks += p.checks
	}
	fromSent := sample.LatenciesOf(sent)
	add("commits/s", float64(len(jobs))/took.Seconds())
	add("sent→run p50 ms", fromSent.P50)
	add("sent→run p99 ms", fromSent.P99)
	add("returned→run p50 ms", sample.LatenciesOf(returned).P50)
	add("checks/s", float64(checks)/took.Seconds())
	add("server CPU µs/commit", used*1000/float64(len(jobs)))
	add("late", float64(late))
	return nil
}

func startFleet(ctx context.Context, url string, n int) (processes []*fleetProcess, err error) {
	for range n {
		p, err := startFleetProcess(ctx, url)
		if err != nil {
			return processes, err
		}
		processes = append(processes, p)
	}
	for _, p := range processes {
		if err := p.ready(); err != nil {
			return processes, err
		}
	}
	return processes, nil
}

// acquire opens the producers' connections.
func acquire(ctx context.Context, db *Database, n int) (conns []*pgxpool.Conn, release func(), err error) {
	release = func() {
		for _, c := range conns {
			c.Release()
		}
	}
	for range n {
		c, err := db.Pool.Acquire(ctx)
		if err != nil {
			release()
			return nil, nil, err
		}
		conns = append(conns, c)
	}
	return conns, release, nil
}

// fleetJobs runs a producer on each connection.
func (l *Lab) fleetJobs(ctx context.Context, conns []*pgxpool.Conn, processes []*fleetProcess) ([]fleetJob, error) {
	var (
		g    errgroup.Group
		mu   sync.Mutex
		jobs []fleetJob
	)
	begun := time.Now()
	for _, conn := range conns {
		g.Go(func() error {
			for time.Since(begun) < l.Duration {
				number := l.nextID()
				job := fleetJob{process: processes[int(number)%len(processes)], number: number}
				if err := job.transact(ctx, conn.Conn()); err != nil {
					return err
				}
				mu.Lock()
				jobs = append(jobs, job)
				mu.Unlock()
			}
			return nil
		})
	}
	err := g.Wait()
	return jobs, err
}

func (j *fleetJob) transact(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	var (
		batch pgx.Batch
		token pgbarrier.Token
	)
	batch.Queue(contender.InsertRow, j.number)
	notify.Queue(&batch, &token)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		_ = tx.Rollback(ctx) // err says more
		return err
	}
	j.process.wait(j.number, token)
	time.Sleep(time.Millisecond)
	j.sent = time.Now()
	err = tx.Commit(ctx)
	j.returned = time.Now()
	return err
}
