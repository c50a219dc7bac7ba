package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	"github.com/pgbarrier/pgbarrier/notify"
)

var fleetSizes = []int{1, 32, 128}

const metricPerCommit = "server CPU µs/commit"

func fleetName(n int) string { return fmt.Sprintf("%d listening", n) }

// runFleet: real processes, each with a listener of its own. Every token goes to one of them, in turns.
func runFleet(ctx context.Context, l *Lab) error {
	db, err := l.database(ctx, contender.Named(contender.NamePgbarrier))
	if err != nil {
		return err
	}
	var names []string
	for _, n := range fleetSizes {
		names = append(names, fleetName(n))
	}
	table := l.Report.Table("fleet", fmt.Sprintf("processes on one database, %d producers, %v inside; CPU of all server processes", producers, loadThink), names...)
	return l.turns(table, func(i int, row *report.Row) error {
		defer db.Pool.Reset()
		return l.fleet(ctx, db, pick(l.Options, fleetSizes[i], i+1), row)
	})
}

// A fleetJob is one transaction, whose wait is in another process: its times are of the wall clock, which
// all processes of a machine share.
type fleetJob struct {
	process *fleetProcess
	number  int64
	sent    time.Time
}

func (l *Lab) fleet(ctx context.Context, db *Database, n int, row *report.Row) (err error) {
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
	if err := l.warmUpFleet(ctx, db, processes); err != nil {
		return err
	}

	var (
		mu   sync.Mutex
		jobs []fleetJob
		cpu  float64
	)
	took, err := l.produce(ctx, db,
		func(conn *pgxpool.Conn) error { return conn.Ping(ctx) },
		func() { cpu = serverCPU(l.postmaster) },
		func(_ int, conn *pgxpool.Conn) error {
			number := l.nextID()
			job := fleetJob{process: processes[int(number)%len(processes)], number: number}
			if err := job.transact(ctx, conn.Conn()); err != nil {
				return err
			}
			mu.Lock()
			jobs = append(jobs, job)
			mu.Unlock()
			return nil
		})
	used := serverCPU(l.postmaster) - cpu
	if err != nil {
		return err
	}
	time.Sleep(pick(l.Options, time.Second, 200*time.Millisecond)) // the last waits
	if err := end(); err != nil {
		return err
	}

	var sent []time.Duration
	for _, j := range jobs {
		if at, ok := j.process.ran(j.number); ok {
			sent = append(sent, max(0, at.Sub(j.sent)))
		}
	}
	var checks uint64
	for _, p := range processes {
		checks += p.checks
	}
	row.Add("commits/s", float64(len(jobs))/took.Seconds())
	addLatencies(row, "sent→run ", sent)
	row.Add("late", float64(len(jobs)-len(sent)))
	row.Add("checks/s", float64(checks)/took.Seconds())
	row.Add(metricPerCommit, used/float64(len(jobs)))
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

// warmUpFleet has each process wait once, for which it opens its connection for checks.
func (l *Lab) warmUpFleet(ctx context.Context, db *Database, processes []*fleetProcess) error {
	tokens, err := committedTokens(ctx, db, 1)
	if err != nil {
		return err
	}
	number := l.nextID()
	for _, p := range processes {
		p.wait(number, tokens[0])
	}
	for _, p := range processes {
		for begun := time.Now(); ; time.Sleep(time.Millisecond) {
			if _, ok := p.ran(number); ok {
				break
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if time.Since(begun) > 30*time.Second {
				return errors.New("a listening process did not end its first wait within 30 s")
			}
		}
	}
	return nil
}

func (j *fleetJob) transact(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var (
			batch pgx.Batch
			token pgbarrier.Token
		)
		batch.Queue(contender.InsertRow, j.number)
		notify.Queue(&batch, &token)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return err
		}
		j.process.wait(j.number, token)
		time.Sleep(loadThink)
		j.sent = time.Now()
		return nil
	})
}
