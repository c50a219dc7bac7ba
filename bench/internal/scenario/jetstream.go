package scenario

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	guardjetstream "github.com/pgbarrier/pgbarrier/contrib/jetstream"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

const rowAfterCommit = "publish after COMMIT"

// runJetStream: one transaction at a time, as in idle, with a broker in between.
func runJetStream(ctx context.Context, l *Lab) error {
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
	table := l.Report.Table("jetstream", fmt.Sprintf("one transaction at a time through NATS JetStream, %v inside", idleThink), rowAfterCommit, contender.NamePgbarrier)
	return l.turns(table, func(_ int, row *report.Row) error {
		if err := l.settle(ctx, db); err != nil {
			return err
		}
		s, err := openStream(ctx, broker.URL)
		if err != nil {
			return err
		}
		defer s.remove(ctx)
		stop, err := s.consume(ctx, db, row.Name == contender.NamePgbarrier)
		if err != nil {
			return err
		}
		defer stop()
		return l.streamJobs(ctx, db, s, row)
	})
}

// streamJobs runs transactions one after the other for two durations.
func (l *Lab) streamJobs(ctx context.Context, db *Database, s *stream, row *report.Row) error {
	conn, err := db.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var sent, returned []time.Duration
	for n, begun := 0, time.Now(); time.Since(begun) < 2*l.Duration || n < 2; n++ {
		job := contender.NewJob(l.nextID())
		s.jobs.Store(strconv.FormatInt(job.ID, 10), job)
		publish := s.publishAfter
		if row.Name == contender.NamePgbarrier {
			publish = s.publishInside
		}
		if err := publish(ctx, conn.Conn(), job); err != nil {
			return err
		}
		select {
		case <-job.Ran():
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Minute):
			return fmt.Errorf("the handler did not run within a minute")
		}
		if n > 0 { // the first one connects, and prepares the statements
			sent, returned = append(sent, job.SinceSent()), append(returned, job.SinceReturned())
		}
	}
	row.Add("n", float64(len(returned)))
	addLatencies(row, "", returned)
	addLatencies(row, "sent→run ", sent)
	return nil
}

// A stream has a subject of its own name.
type stream struct {
	name     string
	nc       *nats.Conn
	js       jetstream.JetStream
	consumer jetstream.Consumer
	jobs     sync.Map // *contender.Job by id
}

func openStream(ctx context.Context, url string) (*stream, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	s := &stream{name: "bench-" + rand.Text(), nc: nc}
	if s.js, err = jetstream.New(nc); err == nil {
		_, err = s.js.CreateStream(ctx, jetstream.StreamConfig{Name: s.name, Subjects: []string{s.name}})
	}
	if err == nil {
		s.consumer, err = s.js.CreateConsumer(ctx, s.name, jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1})
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return s, nil
}

func (s *stream) remove(ctx context.Context) {
	_ = s.js.DeleteStream(context.WithoutCancel(ctx), s.name) // measured already
	s.nc.Close()
}

func (s *stream) message(job *contender.Job) *nats.Msg {
	return &nats.Msg{Subject: s.name, Data: []byte(strconv.FormatInt(job.ID, 10))}
}

func (s *stream) run(m jetstream.Msg) {
	if job, ok := s.jobs.LoadAndDelete(string(m.Data())); ok {
		job.(*contender.Job).Run()
	}
}

// consume starts a worker: a guarded one, or as the client's documentation has it.
func (s *stream) consume(ctx context.Context, db *Database, guarded bool) (stop func(), err error) {
	if !guarded {
		c, err := s.consumer.Consume(func(m jetstream.Msg) {
			s.run(m)
			_ = m.Ack() // it would come again
		})
		if err != nil {
			return nil, err
		}
		return func() { c.Stop(); <-c.Closed() }, nil
	}
	w, err := contender.StartListener(ctx, db.URL, listener.Config{})
	if err != nil {
		return nil, err
	}
	return s.consumeGuarded(ctx, w, func() { _ = w.Close() })
}

func (s *stream) consumeGuarded(ctx context.Context, w *contender.ListenerWorker, end func()) (stop func(), err error) {
	g, err := guard.New(w, guard.Config{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = guardjetstream.Consume(ctx, s.consumer, g, guardjetstream.Config{}, func(_ context.Context, m jetstream.Msg) error {
			s.run(m)
			return nil
		})
	}()
	return func() {
		cancel()
		<-ended
		end()
	}, nil
}

// publishInside publishes in the transaction, with its barrier.
func (s *stream) publishInside(ctx context.Context, conn *pgx.Conn, job *contender.Job) error {
	return commit(ctx, conn, job, func(tx pgx.Tx) error {
		_, err := guardjetstream.Publish(notify.WithTx(ctx, tx), s.js, s.message(job), "")
		return err
	})
}

// publishAfter publishes when COMMIT has returned.
func (s *stream) publishAfter(ctx context.Context, conn *pgx.Conn, job *contender.Job) error {
	if err := commit(ctx, conn, job, func(pgx.Tx) error { return nil }); err != nil {
		return err
	}
	_, err := s.js.PublishMsg(ctx, s.message(job))
	return err
}

// commit inserts the job's row, and does what else belongs to its transaction.
func commit(ctx context.Context, conn *pgx.Conn, job *contender.Job, also func(pgx.Tx) error) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err = tx.Exec(ctx, contender.InsertRow, job.ID); err == nil {
		err = also(tx)
	}
	if err != nil {
		_ = tx.Rollback(ctx) // err says more
		return err
	}
	time.Sleep(idleThink)
	job.CommitSent()
	err = tx.Commit(ctx)
	job.CommitReturned()
	return err
}
