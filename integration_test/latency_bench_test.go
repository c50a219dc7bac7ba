package integration_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

// From COMMIT returned to the waiting goroutine running, with one producer and nothing else to do,
// beside the floor: a connection that listens for a plain NOTIFY of the same transaction.
//
//	go test -run '^$' -bench CommitToRunning -benchtime 2000x ./integration_test
func BenchmarkCommitToRunning(b *testing.B) {
	b.Run("listener", func(b *testing.B) {
		pool := migratedDatabase(b)
		checked := make(chan struct{}, 1000)
		l := run(b, pool, listener.Config{Trace: listener.Trace{Checked: func(listener.Checked) { checked <- struct{}{} }}})
		latencies(b, func() (committed, running time.Time) {
			tx := begin(b, pool)
			sub := l.Subscribe(create(b, tx))
			<-checked // the wait is under way, and nothing else is
			woken := make(chan time.Time, 1)
			go func() {
				<-sub.Done()
				woken <- time.Now()
			}()
			commit(b, tx)
			committed = time.Now()
			return committed, <-woken
		})
	})
	b.Run("raw-LISTEN", func(b *testing.B) {
		pool := migratedDatabase(b)
		execute(b, pool, "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
		conn := listen(b, pool)
		latencies(b, func() (committed, running time.Time) {
			tx := begin(b, pool)
			execute(b, tx, "INSERT INTO orders DEFAULT VALUES; SELECT pg_notify('pgbarrier', 'x')")
			woken := make(chan time.Time, 1)
			go func() {
				if _, err := conn.WaitForNotification(b.Context()); err != nil {
					b.Error(err)
				}
				woken <- time.Now()
			}()
			commit(b, tx)
			committed = time.Now()
			return committed, <-woken
		})
	})
}

// What a barrier adds to a transaction of one insert: alone, and sent together with the insert.
//
//	go test -run '^$' -bench ProducersCost -benchtime 2000x ./integration_test
func BenchmarkProducersCost(b *testing.B) {
	for name, barrier := range map[string]func(pgx.Tx) error{
		"none": func(tx pgx.Tx) error {
			_, err := tx.Exec(b.Context(), "INSERT INTO orders DEFAULT VALUES")
			return err
		},
		"Create": func(tx pgx.Tx) error {
			if _, err := tx.Exec(b.Context(), "INSERT INTO orders DEFAULT VALUES"); err != nil {
				return err
			}
			_, err := notify.Create(b.Context(), tx)
			return err
		},
		"Queue": func(tx pgx.Tx) error {
			batch := &pgx.Batch{}
			batch.Queue("INSERT INTO orders DEFAULT VALUES")
			notify.Queue(batch, new(pgbarrier.Token))
			return tx.SendBatch(b.Context(), batch).Close()
		},
	} {
		b.Run(name, func(b *testing.B) {
			pool := migratedDatabase(b)
			execute(b, pool, "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
			for b.Loop() {
				tx := begin(b, pool)
				if err := barrier(tx); err != nil {
					b.Fatal(err)
				}
				commit(b, tx)
			}
		})
	}
}

// latencies reports the median and the 99th percentile in microseconds.
func latencies(b *testing.B, once func() (from, to time.Time)) {
	b.Helper()
	var all []time.Duration
	for b.Loop() {
		from, to := once()
		all = append(all, max(to.Sub(from), 0))
	}
	slices.Sort(all)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(all[len(all)*p/100].Nanoseconds())/1000, fmt.Sprintf("p%d-µs", p))
	}
}
