package integration_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

func TestAHundredThousandWaitsOnOneListener(t *testing.T) {
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	const n = 100_000
	commits, aborts := begin(t, pool), begin(t, pool)
	tokens := append(createMany(t, commits, n/2), createMany(t, aborts, n/2)...)

	goroutines := runtime.NumGoroutine()
	var waits, cancelled sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	var wrong sync.Map
	for i, token := range tokens {
		waits.Go(func() {
			if err := l.Wait(t.Context(), token); i < n/2 && err != nil || i >= n/2 && !errors.Is(err, pgbarrier.ErrAborted) {
				wrong.Store(token, err)
			}
		})
		if i%10 == 0 {
			cancelled.Go(func() {
				if err := l.Wait(ctx, token); err != context.Canceled {
					wrong.Store(token, err)
				}
			})
		}
	}
	eventually(t, "all waits are registered", func() bool { return l.Stats().Waiting == n+n/10 })
	cancel()
	cancelled.Wait()
	if stats := l.Stats(); stats.Waiting != n || stats.Pending != n {
		t.Errorf("after a tenth was cancelled: %+v", stats)
	}
	commit(t, commits)
	rollback(t, aborts)
	waits.Wait()
	wrong.Range(func(token, err any) bool {
		t.Errorf("%v ended with %v", token, err)
		return true
	})
	if stats := l.Stats(); stats.Waiting != 0 || stats.Pending != 0 {
		t.Errorf("left behind: %+v", stats)
	}
	eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= goroutines+5 })
}

// createMany makes n barriers in tx.
func createMany(t testing.TB, tx pgbarrier.DB, n int) []pgbarrier.Token {
	t.Helper()
	texts := query[[]string](t, tx, "SELECT array_agg(pgbarrier.create(announce => false)) FROM generate_series(1, $1)", n)
	tokens := make([]pgbarrier.Token, n)
	for i := range tokens {
		if err := tokens[i].UnmarshalText([]byte(texts[i])); err != nil {
			t.Fatal(err)
		}
	}
	return tokens
}

// Producers that commit, roll back and lose savepoints, workers on several listeners: every wait ends,
// and with the truth.
func TestEveryWaitEndsWithTheTruthUnderLoad(t *testing.T) {
	pool := migratedDatabase(t)
	listeners := []*listener.Listener{run(t, pool, listener.Config{}), run(t, pool, listener.Config{}), run(t, pool, listener.Config{PollOnly: true})}
	make1 := []func(testing.TB, beginner) pgbarrier.Token{committed, committed, aborted, lostAtSavepoint}
	var producers, workers sync.WaitGroup
	for p := range 8 {
		producers.Go(func() {
			for i := range 100 {
				kind := (p + i) % len(make1)
				if (p+i)%3 == 0 {
					// The wait begins before the transaction ends.
					tx := begin(t, pool)
					token := create(t, tx)
					workers.Go(func() { wait(t, listeners[i%3], nil, token) })
					commit(t, tx)
					continue
				}
				token := make1[kind](t, pool)
				workers.Go(func() {
					var expected error
					if kind > 1 {
						expected = pgbarrier.ErrAborted
					}
					wait(t, listeners[i%3], expected, token)
				})
			}
		})
	}
	producers.Wait()
	workers.Wait()
	for _, l := range listeners {
		if stats := l.Stats(); stats.Waiting != 0 || stats.Pending != 0 || stats.FailedChecks != 0 {
			t.Errorf("%+v", stats)
		}
	}
}

func TestAWaitMayBeginBeforeRun(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l, err := listener.New(pool, listener.Config{})
	if err != nil {
		t.Fatal(err)
	}
	sub := l.Subscribe(committed(t, pool))
	defer sub.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- l.Run(ctx) }()
	wantEnd(t, sub, nil)
	open := begin(t, pool)
	left := l.Subscribe(create(t, open))
	cancel()
	if err := <-ran; err != context.Canceled {
		t.Errorf("Run: %v", err)
	}
	wantEnd(t, left, pgbarrier.ErrClosed)
	if n := query[int](t, pool, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgbarrier'"); n != 0 {
		eventually(t, "the listener's connections are gone", func() bool {
			return query[int](t, pool, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgbarrier'") == 0
		})
	}
}

func TestRunSaysWhatIsWrongWithTheDatabase(t *testing.T) {
	t.Parallel()
	ran := func(pool *pgxpool.Pool) (error, error) {
		l, err := listener.New(pool, listener.Config{})
		if err != nil {
			t.Fatal(err)
		}
		sub := l.Subscribe(pgbarrier.Token{ID: committed(t, migratedDatabase(t)).ID, XID: 7})
		err = l.Run(t.Context())
		<-sub.Done()
		return err, sub.Err()
	}
	err, waitErr := ran(emptyDatabase(t))
	wantErr(t, "Run without a schema", err, pgbarrier.ErrNotMigrated)
	wantErr(t, "its wait", waitErr, pgbarrier.ErrClosed)
	wantErr(t, "its wait", waitErr, pgbarrier.ErrNotMigrated)

	half := migratedDatabase(t)
	execute(t, half, "DROP TRIGGER announce ON pgbarrier.barrier")
	err, _ = ran(half)
	wantErr(t, "Run with half a schema", err, pgbarrier.ErrNotMigrated)
	if !strings.Contains(err.Error(), "announce") {
		t.Errorf("the error does not name what is missing: %v", err)
	}
}
