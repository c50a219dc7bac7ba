package scenario

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
)

// A flush is how long a WAL flush takes, by the server's settings.
type flush struct {
	name  string
	delay int // commit_delay, µs
}

// flushes: the machine's own, about 0.1 ms on flash storage, and at least 1 ms, as on network storage.
var flushes = []flush{{"machine's flush", 0}, {"flush 1 ms", 1000}}

// setFlush sets how long a flush takes, for sessions old and new.
func (l *Lab) setFlush(ctx context.Context, f flush) error {
	for name, value := range map[string]int{"commit_delay": f.delay, "commit_siblings": 0} {
		if _, err := l.admin.Exec(ctx, fmt.Sprintf("ALTER SYSTEM SET %s = %d", name, value)); err != nil {
			return err
		}
	}
	if _, err := l.admin.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	// The reload is a signal: wait until a new session shows it.
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		conn, err := pgx.Connect(ctx, l.server.URL())
		if err != nil {
			return err
		}
		var delay string
		err = conn.QueryRow(ctx, "SHOW commit_delay").Scan(&delay)
		_ = conn.Close(ctx) // only looked
		if err != nil {
			return err
		}
		if delay == strconv.Itoa(f.delay) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("the server did not take over commit_delay")
}

// flushTakes measures one WAL flush: the median commit of an insert, less that without waiting for the flush.
func (l *Lab) flushTakes(ctx context.Context, db *Database) (time.Duration, error) {
	conn, err := db.Pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	median := func(setting string) (time.Duration, error) {
		if _, err := conn.Exec(ctx, "SET synchronous_commit = "+setting); err != nil {
			return 0, err
		}
		var took []time.Duration
		for range 50 {
			begun := time.Now()
			if _, err := conn.Exec(ctx, contender.InsertRow, l.nextID()); err != nil {
				return 0, err
			}
			took = append(took, time.Since(begun))
		}
		return medianOf(took), nil
	}
	with, err := median("on")
	if err != nil {
		return 0, err
	}
	without, err := median("off")
	if err != nil {
		return 0, err
	}
	_, err = conn.Exec(ctx, "RESET synchronous_commit")
	return with - without, err
}

// describeFlushes notes how long flushes really take on this machine.
func (l *Lab) describeFlushes(ctx context.Context) error {
	db, err := l.database(ctx, contender.Named(contender.NameBase))
	if err != nil {
		return err
	}
	for _, f := range flushes {
		if err := l.setFlush(ctx, f); err != nil {
			return err
		}
		took, err := l.flushTakes(ctx, db)
		if err != nil {
			return err
		}
		l.Report.Settings[f.name+" takes"] = took.Round(10 * time.Microsecond).String()
	}
	return nil
}
