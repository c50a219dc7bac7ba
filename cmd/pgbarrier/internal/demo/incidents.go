package demo

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// What is killed, as schema.sql has it.
const (
	killedProducer = "producer"
	killedListen   = "LISTEN connection"
)

// note records that something was killed.
func (b *base) note(ctx context.Context, a approach, what string) {
	// If this fails, so does the rest; the first error is reported elsewhere.
	_, _ = b.pool.Exec(ctx, "INSERT INTO pgbarrier_demo.incidents (approach, what) VALUES ($1, $2)", a.name, what)
}

const cutEvery = 150 * time.Millisecond

// cutListen ends the listener's LISTEN connection whenever it is up, until ctx ends. How long a
// listener waits before it connects again grows with each time, so it is down more and more.
func (b *base) cutListen(ctx context.Context, a approach) {
	tick := time.NewTicker(cutEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var killed int
		err := b.pool.QueryRow(ctx, `
			SELECT count(*) FROM (
				SELECT pg_terminate_backend(pid) AS killed FROM pg_stat_activity
				WHERE application_name = $1 AND datname = current_database() AND query ILIKE '%listen%'
			) AS k WHERE killed`, listenerApplication).Scan(&killed)
		if err == nil && killed > 0 {
			b.note(ctx, a, killedListen)
		}
	}
}

// awaitProducersGone returns when no session of a producer is left: then every transaction has ended,
// also those of the killed.
func (b *base) awaitProducersGone(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var gone bool
		err := b.pool.QueryRow(ctx, `
			SELECT NOT EXISTS (SELECT FROM pg_stat_activity
			WHERE application_name = $1 AND datname = current_database())`, producerApplication).Scan(&gone)
		if gone || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// saveCommits records when COMMIT returned to the producers.
func (b *base) saveCommits(ctx context.Context, a approach, commits []response) error {
	_, err := b.pool.CopyFrom(ctx, pgx.Identifier{"pgbarrier_demo", "commits"}, []string{"approach", "request", "returned"},
		pgx.CopyFromSlice(len(commits), func(i int) ([]any, error) {
			return []any{a.name, commits[i].Request, commits[i].Committed}, nil
		}))
	return err
}
