package scenario

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

// The barriers of schema 1 are what the others are compared with.
const (
	rowTwo     = "two statements in a batch"
	rowQueue   = "and a barrier"
	rowSilent  = "and a silent barrier"
	rowQueue1  = "and a barrier, schema 1"
	rowSilent1 = "and a silent barrier, schema 1"

	metricCPU   = "server CPU µs"
	metricAdded = "added µs"
)

// runCost: one producer, while a session listens, as announcing costs more then. Commits do not wait for
// their flush, which would be most of the time and is the same for all.
func runCost(ctx context.Context, l *Lab) error {
	table := l.Report.Table("cost", "one producer, CPU of its backend per transaction, synchronous_commit off; added: beside the two statements",
		rowTwo, rowQueue, rowSilent, rowQueue1, rowSilent1)
	err := l.turns(table, func(_ int, row *report.Row) error {
		c := contender.Named(contender.NamePgbarrier)
		if row.Name == rowQueue1 || row.Name == rowSilent1 {
			c = contender.Contender{Name: "schema 1", Install: installSchema1, Clear: c.Clear}
		}
		db, err := l.database(ctx, c)
		if err == nil {
			err = l.settle(ctx, db)
		}
		if err != nil {
			return err
		}
		w, err := contender.Listen(ctx, db.URL, listener.Channel)
		if err != nil {
			return err
		}
		defer func() { _ = w.Close() }() // only listens
		return l.cost(ctx, db, row)
	})
	if err != nil {
		return err
	}

	two := table.Rows[0].Metric(metricCPU)
	for _, row := range table.Rows[1:] {
		for round, with := range row.Metric(metricCPU).Rounds {
			row.Add(metricAdded, float64(with-two.Rounds[round]))
		}
	}
	return nil
}

// cost runs one transaction after the other for the duration.
func (l *Lab) cost(ctx context.Context, db *Database, row *report.Row) error {
	conn, err := pgx.Connect(ctx, db.URL+"&synchronous_commit=off")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // measured already
	once := func() error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			id := l.nextID()
			var batch pgx.Batch
			batch.Queue(contender.InsertRow, id)
			batch.Queue("UPDATE app SET note = 'paid' WHERE id = $1", id)
			switch row.Name {
			case rowQueue, rowQueue1:
				notify.Queue(&batch, new(pgbarrier.Token))
			case rowSilent, rowSilent1:
				notify.Queue(&batch, new(pgbarrier.Token), notify.WithoutAnnouncement())
			}
			return tx.SendBatch(ctx, &batch).Close()
		})
	}
	for range 20 { // prepares the statements
		if err := once(); err != nil {
			return err
		}
	}

	backend := int(conn.PgConn().PID())
	cpu, n := cpuOf(backend), 0.0
	begun := time.Now()
	for ; time.Since(begun) < l.Duration; n++ {
		if err := once(); err != nil {
			return err
		}
	}
	row.Add("µs", microseconds(time.Since(begun))/n)
	row.Add(metricCPU, (cpuOf(backend)-cpu)/n)
	return nil
}

// installSchema1 installs what this library had before, from the test data of integration_test.
func installSchema1(ctx context.Context, pool *pgxpool.Pool) error {
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		return errors.New("this program does not know where its source is")
	}
	schema, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../../integration_test/testdata/version1.sql"))
	if err != nil {
		return err
	}
	_, err = pool.Exec(ctx, string(schema))
	return err
}
