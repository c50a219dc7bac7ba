package contender

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier/devpg"
)

var server *devpg.Server

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	if server, err = devpg.Start(ctx, devpg.Config{Settings: map[string]string{"fsync": "off"}}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code = m.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// What every contender has to do to be compared: run the handler, once, when the row can be read, and
// never for a row that was rolled back.
func TestContenders(t *testing.T) {
	for _, c := range All() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			worker, pool := started(t, c)
			aborted := NewJob(1)
			tx := begin(t, pool)
			if err := worker.Produce(t.Context(), tx, aborted); err != nil {
				t.Fatal(err)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			for id := int64(2); id < 6; id++ {
				job := NewJob(id)
				tx := begin(t, pool)
				if err := worker.Produce(t.Context(), tx, job); err != nil {
					t.Fatal(err)
				}
				job.CommitSent()
				if err := tx.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				job.CommitReturned()
				if c.Silent {
					continue
				}
				select {
				case <-job.Ran():
				case <-time.After(2 * time.Minute):
					t.Fatal("the handler did not run")
				}
				var there bool
				if err := pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM app WHERE id = $1)", id).Scan(&there); err != nil || !there {
					t.Fatalf("the handler ran and the row is not there: %v", err)
				}
				if job.SinceSent() <= 0 || job.SinceReturned() > job.SinceSent() {
					t.Errorf("%v since COMMIT was sent, %v since it returned", job.SinceSent(), job.SinceReturned())
				}
			}
			select {
			case <-aborted.Ran():
				t.Error("the handler of a transaction that rolled back ran")
			default:
			}
		})
	}
}

// A handler must not run before the commit, however long the transaction takes.
func TestNoHandlerRunsBeforeTheCommit(t *testing.T) {
	for _, c := range All() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			worker, pool := started(t, c)
			job := NewJob(1)
			tx := begin(t, pool)
			if err := worker.Produce(t.Context(), tx, job); err != nil {
				t.Fatal(err)
			}
			select {
			case <-job.Ran():
				t.Error("it ran")
			case <-time.After(150 * time.Millisecond): // every poller but the slowest has looked
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAHandlerCountsOnce(t *testing.T) {
	j := NewJob(1)
	j.Run()
	first := j.SinceSent()
	j.Run()
	if j.SinceSent() != first {
		t.Error("the second delivery changed the time")
	}
}

// started returns a contender's worker, and a pool of the database that it works on.
func started(t *testing.T, c Contender) (Worker, *pgxpool.Pool) {
	t.Helper()
	url := server.DatabaseForTest(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := InstallApp(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	if err := c.Install(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	worker, err := c.Start(t.Context(), url, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := worker.Close(); err != nil {
			t.Error(err)
		}
	})
	return worker, pool
}

func begin(t *testing.T, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tx
}
