package integration_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// produceOverflowing commits a transaction with more subtransactions than a snapshot holds
// (PGPROC_MAX_CACHED_SUBXIDS, 64), its barrier in one of the last.
func produceOverflowing(t *testing.T, r replication, b *barriers) error {
	var m *made
	err := pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		for i := range 70 {
			err := pgx.BeginFunc(t.Context(), tx, func(savepoint pgx.Tx) error {
				if i < 68 {
					_, err := savepoint.Exec(t.Context(), "SELECT pg_current_xact_id(); INSERT INTO noise VALUES (1)")
					return err
				}
				if m != nil {
					return nil
				}
				token, err := notify.Create(t.Context(), savepoint)
				m = &made{token: token, planned: pgbarrier.Committed}
				b.add(m)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if m != nil {
		m.ended.Store(true)
	}
	return err
}

// checkOnStandby compares what a standby says with what was planned. It may be behind, or unsure.
func checkOnStandby(t *testing.T, db pgbarrier.DB, some []*made) bool {
	var tokens []string
	seen := make([]pgbarrier.Status, len(some))
	for i, m := range some {
		tokens, seen[i] = append(tokens, m.token.String()), pgbarrier.Status(m.seen.Load())
	}
	var letters string
	if err := db.QueryRow(t.Context(), "SELECT outcomes FROM pgbarrier.visible($1)", tokens).Scan(&letters); err != nil {
		t.Errorf("visible: %v", err)
		return false
	}
	for i, m := range some {
		switch status := pgbarrier.Committed; {
		case letters[i] == 'P' && seen[i] == pgbarrier.Pending:
		case letters[i] != 'C' || status != m.planned:
			t.Errorf("%v is to be %v, was %v, and is %c", m.token, m.planned, seen[i], letters[i])
			return false
		default:
			m.seen.Store(uint32(status))
		}
	}
	return true
}

// The snapshot of a standby does not say who is running. What it tells must never be wrong, and never
// change, with transactions of all kinds on the primary.
func TestAStandbyNeverGivesAWrongOutcome(t *testing.T) {
	t.Parallel()
	r := replicated(t, map[string]string{"fsync": "off"})
	execute(t, r.pool, "CREATE TABLE noise (n integer)")
	r.catchUp(t)
	var b barriers
	var wg sync.WaitGroup
	var checks atomic.Int64
	stop := make(chan struct{})
	producer := func(produce func() error) {
		wg.Go(func() {
			for !stopped(stop) {
				if err := produce(); err != nil {
					t.Errorf("produce: %v", err)
					return
				}
			}
		})
	}
	for range 4 {
		producer(func() error { return produce(t.Context(), r.pool, &b) })
	}
	producer(func() error { return produceOverflowing(t, r, &b) })
	producer(func() error { // older ones that stay open for a while
		return pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO noise VALUES (1); SELECT pg_sleep(0.02)")
			return err
		})
	})
	for range 3 {
		wg.Go(func() {
			for !stopped(stop) && checkOnStandby(t, r.replica, b.sample(1+rand.IntN(50))) {
				checks.Add(1)
			}
		})
	}
	made := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.count
	}
	for !t.Failed() && (made() < 2000 || checks.Load() < 400) {
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	r.catchUp(t)
	var expected string
	var texts []string
	for _, m := range b.recent {
		texts = append(texts, m.token.String())
		expected += map[pgbarrier.Status]string{pgbarrier.Committed: "C", pgbarrier.Aborted: "P"}[m.planned]
	}
	if got := visible(t, r.replica, texts...); got != expected {
		t.Errorf("in the end the standby says\n%s, want\n%s", got, expected)
	}
	t.Logf("%d barriers, %d checks", b.count, checks.Load())
}
