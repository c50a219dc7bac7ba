package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// restartTimeout bounds recovery; the run is given up when it takes longer.
const restartTimeout = 2 * time.Minute

func crash(c *chaos, _ context.Context, r *rand.Rand) bool {
	return c.outage(true, upTo(r, 500*time.Millisecond))
}

func restart(c *chaos, _ context.Context, _ *rand.Rand) bool { return c.outage(false, 0) }

// outage takes the server down, in whichever way, and brings it back also when the run is over.
func (c *chaos) outage(crash bool, pause time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), restartTimeout)
	defer cancel()
	c.outages.begin(c.now(), crash)
	if crash {
		if err := c.server.Crash(ctx); err != nil {
			c.out.Println("the server could not be crashed:", err)
			return false
		}
		time.Sleep(pause)
	}
	if err := c.server.Restart(ctx); err != nil {
		c.out.Println("the server could not be restarted:", err)
		return false
	}
	c.outages.end(c.now())
	return true
}

const (
	producing = "chaos_producer" // their application_name
	listening = "application_name = 'pgbarrier' AND query ILIKE '%LISTEN%'"
	checking  = "application_name = 'pgbarrier' AND query NOT ILIKE '%LISTEN%'"
)

// count runs a statement that returns a number, and reports whether it is not zero.
func (c *chaos) count(ctx context.Context, sql string, args ...any) bool {
	var n int
	err := c.admin.QueryRow(ctx, sql, args...).Scan(&n)
	return err == nil && n > 0
}

func (c *chaos) terminate(ctx context.Context, which string) bool {
	return c.count(ctx, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND "+which)
}

func terminateListening(c *chaos, ctx context.Context, _ *rand.Rand) bool {
	return c.terminate(ctx, listening)
}

func terminateChecking(c *chaos, ctx context.Context, _ *rand.Rand) bool {
	return c.terminate(ctx, checking)
}

func terminateAll(c *chaos, ctx context.Context, _ *rand.Rand) bool {
	over := c.terminations.begin(c.now())
	defer func() { over(c.now()) }()
	return c.terminate(ctx, "pid <> pg_backend_pid()")
}

// cancelChecks tries until it has hit some.
func cancelChecks(c *chaos, ctx context.Context, r *rand.Rand) bool {
	hits := 0
	for range 200 {
		if c.count(ctx, "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE state = 'active' AND "+checking) {
			if hits++; hits > r.IntN(5) {
				return true
			}
		}
		if !sleep(ctx, time.Millisecond) {
			break
		}
	}
	return hits > 0
}

// holdLock keeps everybody from announcing.
func holdLock(c *chaos, ctx context.Context, r *rand.Rand) bool {
	tx, err := c.admin.Begin(ctx)
	if err != nil {
		return false
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // its session may have been terminated
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock((regexp_match(prosrc, 'pg_try_advisory_xact_lock\((\d+)\)'))[1]::bigint)
		FROM pg_proc WHERE oid = 'pgbarrier.announce'::regproc`); err != nil {
		return false
	}
	sleep(ctx, aWhile(c, r))
	return true
}

func announceNothing(c *chaos, ctx context.Context, r *rand.Rand) bool {
	c.quiet.Store(true)
	sleep(ctx, aWhile(c, r))
	c.quiet.Store(false)
	return true
}

// idleInTransaction keeps the notification queue from being emptied, and a snapshot and an xid open.
func idleInTransaction(c *chaos, ctx context.Context, r *rand.Rand) bool {
	conn, err := c.admin.Acquire(ctx)
	if err != nil {
		return false
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "LISTEN pgbarrier; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()"); err != nil {
		return false
	}
	sleep(ctx, aWhile(c, r))
	_, _ = conn.Exec(context.WithoutCancel(ctx), "ROLLBACK; UNLISTEN *") // a closed session does both
	return true
}

func replaceListener(c *chaos, _ context.Context, r *rand.Rand) bool {
	s := c.fleet[r.IntN(len(c.fleet))]
	c.cleaning.Lock() // a new one refuses a schema whose triggers a cleaner has left in another state
	defer c.cleaning.Unlock()
	return s.replace() == nil
}

func statement(sql string) func(*chaos, context.Context, *rand.Rand) bool {
	return func(c *chaos, ctx context.Context, _ *rand.Rand) bool {
		_, err := c.admin.Exec(ctx, sql)
		return err == nil
	}
}

const deadlockDetected = "40P01" // SQLSTATE; the next time it could be a producer that is chosen to fail

func migrateAgain(c *chaos, ctx context.Context, _ *rand.Rand) bool {
	err := pgbarrier.Migrate(ctx, c.admin)
	if err != nil && ctx.Err() == nil && (!wire.IsOutage(err) || wire.SQLState(err) == deadlockDetected) {
		c.fail(wrong, nil, "migrating failed: "+err.Error())
	}
	return err == nil
}
