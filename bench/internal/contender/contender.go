// Package contender holds what is compared: ways to insert an application row in a transaction and
// to run a handler for it no sooner than the row can be read.
package contender

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Contender is one way to do it.
type Contender struct {
	Name string
	// About says its version and configuration, for the report.
	About string
	// Silent: it runs no handler. It shows what the transaction costs without.
	Silent bool
	// Period is the longest pause between two of its looks at the database. Idle measurements begin
	// at a random moment of it: one that follows another at once would always meet the same moment.
	Period time.Duration

	// Install makes its tables in an empty database that has the application's table.
	Install func(ctx context.Context, pool *pgxpool.Pool) error
	// Clear empties its tables between measurements: what one has left over is not the next one's work.
	Clear string
	// Start starts a worker. waiters is how many handlers may be waited for at once, about.
	Start func(ctx context.Context, url string, waiters int) (Worker, error)
}

// A Worker hands out work about rows.
type Worker interface {
	// Produce inserts the job's row in tx and hands out work about it: from then on the worker may
	// be waiting, and it calls job.Run once the row can be read.
	Produce(ctx context.Context, tx pgx.Tx, job *Job) error
	// Close ends it. No handler runs after that.
	Close() error
}

// InsertRow is the application's own statement. Its parameter is the row's id.
const InsertRow = "INSERT INTO app (id, note) VALUES ($1, 'an order')"

// InstallApp makes the application's table.
func InstallApp(ctx context.Context, pool *pgxpool.Pool) error {
	return execute(ctx, pool, "CREATE TABLE app (id bigint PRIMARY KEY, note text NOT NULL)")
}

func execute(ctx context.Context, pool *pgxpool.Pool, statements ...string) error {
	for _, s := range statements {
		if _, err := pool.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// The names that goals and charts refer to.
const (
	NamePgbarrier = "pgbarrier"
	NameListen    = "LISTEN, plain trigger"
	NameLockWait  = "lock wait"
	NameBase      = "no barrier, no handler"
	NameSilent    = "barrier row, silent"
	NamePoll      = "poll the row, 10 ms"
)

// All returns every contender.
func All() []Contender {
	return []Contender{
		baseContender(), silentContender(), pgbarrierContender(), listenContender(), lockWaitContender(),
		pollContender(), riverContender(), watermillContender(), gueContender(),
	}
}

// Named returns the contender of that name, which must exist.
func Named(name string) Contender {
	for _, c := range All() {
		if c.Name == name {
			return c
		}
	}
	panic("no contender is named " + name)
}
