package scenario

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/notify"
)

const (
	rowTwo                  = "two statements"
	rowBarrier              = "two statements, then Create"
	rowTwoPipelined         = "two statements in a batch"
	rowBarrierPipelined     = "two statements and Queue in a batch"
	rowUnannouncedPipelined = "the same without announcing"

	updateRow = "UPDATE app SET note = 'paid' WHERE id = $1"
)

// A variant is what a transaction does between BEGIN and COMMIT.
type variant struct {
	name string
	do   func(ctx context.Context, tx pgx.Tx, id int64) error
}

func batchOf(opts ...func(*pgx.Batch)) func(context.Context, pgx.Tx, int64) error {
	return func(ctx context.Context, tx pgx.Tx, id int64) error {
		var batch pgx.Batch
		batch.Queue(contender.InsertRow, id)
		batch.Queue(updateRow, id)
		for _, o := range opts {
			o(&batch)
		}
		return tx.SendBatch(ctx, &batch).Close()
	}
}

func two(ctx context.Context, tx pgx.Tx, id int64) error {
	if _, err := tx.Exec(ctx, contender.InsertRow, id); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, updateRow, id)
	return err
}

var variants = []variant{
	{rowTwo, two},
	{rowBarrier, func(ctx context.Context, tx pgx.Tx, id int64) error {
		if err := two(ctx, tx, id); err != nil {
			return err
		}
		_, err := notify.Create(ctx, tx)
		return err
	}},
	{rowTwoPipelined, batchOf()},
	{rowBarrierPipelined, batchOf(func(b *pgx.Batch) { notify.Queue(b, new(pgbarrier.Token)) })},
	{rowUnannouncedPipelined, batchOf(func(b *pgx.Batch) { notify.Queue(b, new(pgbarrier.Token), notify.WithoutAnnouncement()) })},
}

// runCost: one producer. First what a barrier adds to a transaction of two statements, then what every
// contender's hand-out adds to one insert. A worker listens all the while, as announcing costs more then.
func runCost(ctx context.Context, l *Lab) error {
	for _, f := range pick(l.Options, flushes, flushes[:1]) {
		if err := l.setFlush(ctx, f); err != nil {
			return err
		}
		if err := l.costOfVariants(ctx, f); err != nil {
			return err
		}
		if err := l.costOfContenders(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) costOfVariants(ctx context.Context, f flush) error {
	name := "a transaction of two statements, " + f.name
	if l.skips(name) {
		return nil
	}
	table := l.Report.Table("3 cost", name)
	table.Baseline, table.Ratio = rowTwoPipelined, "µs"
	for _, v := range variants {
		table.Row(v.name)
	}
	c := contender.Named(contender.NamePgbarrier)
	db, err := l.database(ctx, c)
	if err != nil {
		return err
	}
	defer db.Pool.Reset()
	if err := l.settle(ctx, db); err != nil {
		return err
	}
	w, err := c.Start(ctx, db.URL, 1)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }() // measured already
	for round := range l.Rounds {
		for i := range variants {
			v := variants[(i+round)%len(variants)]
			l.Progress(fmt.Sprintf("3 cost, %s · round %d/%d · %s", f.name, round+1, l.Rounds, v.name))
			err := l.cost(ctx, db, table.Row(v.name).Add, func(ctx context.Context, tx pgx.Tx) error { return v.do(ctx, tx, l.nextID()) })
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
		}
	}
	return nil
}

func (l *Lab) costOfContenders(ctx context.Context, f flush) error {
	contenders := l.contenders(func(c contender.Contender) bool { return true })
	name := "an insert and handing out work for it, " + f.name
	if l.skips(name) {
		return nil
	}
	table := l.Report.Table("3 cost", name)
	table.Baseline, table.Ratio = contender.NameBase, "µs"
	rowsInOrder(table, contenders)
	return l.rounds(ctx, "3 cost, "+f.name, contenders, func(c contender.Contender, db *Database) error {
		if err := l.settle(ctx, db); err != nil {
			return err
		}
		w, err := c.Start(ctx, db.URL, 8)
		if err != nil {
			return err
		}
		defer func() { _ = w.Close() }() // measured already
		return l.cost(ctx, db, table.Row(c.Name).Add, func(ctx context.Context, tx pgx.Tx) error {
			return w.Produce(ctx, tx, contender.NewJob(l.nextID()))
		})
	})
}

// cost runs one transaction after the other for the duration, and tells what one cost.
func (l *Lab) cost(ctx context.Context, db *Database, add func(string, float64), do func(context.Context, pgx.Tx) error) error {
	config, err := pgx.ParseConfig(db.URL)
	if err != nil {
		return err
	}
	var trips atomic.Int64
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &countedConn{Conn: conn, trips: &trips}, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // measured already
	once := func() (time.Duration, error) {
		begun := time.Now()
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return do(ctx, tx) })
		return time.Since(begun), err
	}
	for range 20 { // prepares the statements
		if _, err := once(); err != nil {
			return err
		}
	}
	// A page's first change after a checkpoint is logged in full: not in one variant more than in another.
	if _, err := l.admin.Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	pid := int(conn.PgConn().PID())
	cpu, known := cpuOf(pid)
	wal, err := l.wal(ctx)
	if err != nil {
		return err
	}
	trips.Store(0)
	var took []time.Duration
	for begun := time.Now(); time.Since(begun) < l.Duration; {
		d, err := once()
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	n := float64(len(took))
	add("µs", float64(medianOf(took))/1000)
	add("round trips", float64(trips.Load())/n)
	walAfter, err := l.wal(ctx)
	if err != nil {
		return err
	}
	add("WAL B", (walAfter-wal)/n)
	used := math.NaN()
	if after, ok := cpuOf(pid); ok && known {
		used = float64(after-cpu) / 1000 / n
	}
	add("backend CPU µs", used)
	return nil
}

// wal returns how many bytes of WAL the server has ever inserted.
func (l *Lab) wal(ctx context.Context) (bytes float64, err error) {
	err = l.admin.QueryRow(ctx, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8").Scan(&bytes)
	return bytes, err
}

// A countedConn counts round trips: how often something is sent after something has been received.
type countedConn struct {
	net.Conn
	trips    *atomic.Int64
	received atomic.Bool
}

// Read implements net.Conn.
func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.received.Store(true)
	}
	return n, err
}

// Write implements net.Conn.
func (c *countedConn) Write(b []byte) (int, error) {
	if c.received.Swap(false) {
		c.trips.Add(1)
	}
	return c.Conn.Write(b)
}
