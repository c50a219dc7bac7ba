package integration_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// made is a barrier whose fate was decided when it was made.
type made struct {
	token   pgbarrier.Token
	planned pgbarrier.Status
	ended   atomic.Bool   // the transaction has: Pending would be a lie
	seen    atomic.Uint32 // the last status but Pending that a check gave
}

// barriers are the most recent ones, where races are.
type barriers struct {
	mu     sync.Mutex
	recent []*made
	count  int
}

func (b *barriers) add(m *made) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	if b.recent = append(b.recent, m); len(b.recent) > 400 {
		b.recent = append(b.recent[:0], b.recent[200:]...)
	}
}

func (b *barriers) sample(n int) []*made {
	b.mu.Lock()
	defer b.mu.Unlock()
	var some []*made
	for range min(n, len(b.recent)) {
		some = append(some, b.recent[len(b.recent)-1-rand.IntN(min(len(b.recent), 2*n))])
	}
	return some
}

func stopped(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// produce runs one transaction: some barriers, in savepoints or not, and one of the ways to end.
func produce(ctx context.Context, pool *pgxpool.Pool, b *barriers) error {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	commits := rand.IntN(3) > 0
	var mine []*made
	create := func(tx notify.Tx, survives bool) error {
		token, err := notify.Create(ctx, tx)
		if err != nil {
			return err
		}
		m := &made{token: token, planned: pgbarrier.Aborted}
		if survives {
			m.planned = pgbarrier.Committed
		}
		mine = append(mine, m)
		b.add(m)
		return nil
	}
	for range 1 + rand.IntN(3) {
		if rand.IntN(2) == 0 {
			if err := create(tx, commits); err != nil {
				return err
			}
			continue
		}
		keep := rand.IntN(2) == 0
		savepoint, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		if err := create(savepoint, commits && keep); err != nil {
			return err
		}
		if keep {
			err = savepoint.Commit(ctx)
		} else {
			err = savepoint.Rollback(ctx)
		}
		if err != nil {
			return err
		}
	}
	if commits {
		err = tx.Commit(ctx)
	} else {
		err = tx.Rollback(ctx)
	}
	for _, m := range mine {
		m.ended.Store(true)
	}
	return err
}

// check asks about some barriers at once and compares with what was planned.
func check(ctx context.Context, t *testing.T, db pgbarrier.DB, b *barriers, right func(planned, seen pgbarrier.Status) bool) bool {
	some := b.sample(1 + rand.IntN(50))
	tokens, ended, seen := make([]pgbarrier.Token, len(some)), make([]bool, len(some)), make([]pgbarrier.Status, len(some))
	for i, m := range some {
		tokens[i], ended[i], seen[i] = m.token, m.ended.Load(), pgbarrier.Status(m.seen.Load())
	}
	statuses, err := pgbarrier.Check(ctx, db, tokens...)
	if err != nil {
		t.Errorf("check: %v", err)
		return false
	}
	for i, m := range some {
		status := statuses[i]
		switch {
		case status == pgbarrier.Pending && !ended[i] && seen[i] == pgbarrier.Pending:
		case !right(m.planned, status):
			t.Errorf("%v is to be %v, and was %v", m.token, m.planned, status)
			return false
		case seen[i] != pgbarrier.Pending && status != seen[i] && status != pgbarrier.Expired:
			t.Errorf("%v was %v, and is now %v", m.token, seen[i], status)
			return false
		case status == pgbarrier.Pending:
			t.Errorf("%v is pending after it has ended (%v) or was %v", m.token, ended[i], seen[i])
			return false
		default:
			m.seen.Store(uint32(status))
		}
	}
	return true
}

// stress runs producers and checkers for a while, and whatever background starts.
func stress(t *testing.T, pool *pgxpool.Pool, d time.Duration, background func(stop <-chan struct{}, wg *sync.WaitGroup), right func(planned, seen pgbarrier.Status) bool) {
	t.Helper()
	var b barriers
	var wg sync.WaitGroup
	var checks atomic.Int64
	stop := make(chan struct{})
	for range 6 {
		wg.Go(func() {
			for !stopped(stop) {
				if err := produce(t.Context(), pool, &b); err != nil {
					t.Errorf("produce: %v", err)
					return
				}
			}
		})
	}
	for i := range 4 {
		wg.Go(func() {
			for !stopped(stop) {
				ok := false
				if i == 0 { // with one snapshot for several checks
					err := pgx.BeginTxFunc(t.Context(), pool, repeatableRead, func(tx pgx.Tx) error {
						ok = checkOfOneSnapshot(t, tx, &b, right)
						return nil
					})
					ok = ok && err == nil
				} else {
					ok = check(t.Context(), t, pool, &b, right)
				}
				if !ok {
					return
				}
				checks.Add(1)
			}
		})
	}
	background(stop, &wg)
	time.Sleep(d) // the length of the experiment
	close(stop)
	wg.Wait()
	t.Logf("%d barriers, %d checks", b.count, checks.Load())
}

// checkOfOneSnapshot may find anything pending, but nothing different twice.
func checkOfOneSnapshot(t *testing.T, tx pgx.Tx, b *barriers, right func(planned, seen pgbarrier.Status) bool) bool {
	some := b.sample(20)
	var tokens []pgbarrier.Token
	for _, m := range some {
		tokens = append(tokens, m.token)
	}
	first, err := pgbarrier.Check(t.Context(), tx, tokens...)
	if err != nil {
		t.Errorf("check: %v", err)
		return false
	}
	second, err := pgbarrier.Check(t.Context(), tx, tokens...)
	if err != nil {
		t.Errorf("check: %v", err)
		return false
	}
	for i, m := range some {
		if first[i] != second[i] || first[i] != pgbarrier.Pending && !right(m.planned, first[i]) {
			t.Errorf("%v is to be %v, and was %v, then %v, by the same snapshot", m.token, m.planned, first[i], second[i])
			return false
		}
	}
	return true
}

func TestNoCheckEverGivesAWrongOutcomeAndNoOutcomeEverChanges(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	stress(t, pool, 2*time.Second, func(stop <-chan struct{}, wg *sync.WaitGroup) {
		wg.Go(func() { // migrations and vacuums in between
			for !stopped(stop) {
				if err := pgbarrier.Migrate(t.Context(), pool); err != nil {
					t.Errorf("migrate: %v", err)
					return
				}
				if _, err := pool.Exec(t.Context(), "VACUUM FREEZE pgbarrier.barrier"); err != nil {
					t.Errorf("vacuum: %v", err)
					return
				}
			}
		})
	}, func(planned, seen pgbarrier.Status) bool { return seen == planned })
}
