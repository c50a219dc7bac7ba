package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// A cleaner takes barriers away as those do who tidy a database and do not know what they are, in one
// transaction. What was created before it may be expired then, and never reads as aborted if it was committed.
type cleaner struct {
	sql    string
	unseen bool // no trigger fires: until there is a mark again, nothing is certain
	undone bool // it is rolled back
}

const (
	truncates   = "TRUNCATE pgbarrier.barrier"
	deletesAll  = "DELETE FROM pgbarrier.barrier"
	deletesSome = "DELETE FROM pgbarrier.barrier WHERE id IN (SELECT id FROM pgbarrier.barrier ORDER BY id DESC LIMIT 1000)"
	asReplica   = "SET LOCAL session_replication_role = replica; "
)

func withoutTriggers(sql string) string {
	return "ALTER TABLE pgbarrier.barrier DISABLE TRIGGER ALL; " + sql + "; ALTER TABLE pgbarrier.barrier ENABLE TRIGGER ALL"
}

func (k cleaner) clean(c *chaos, ctx context.Context, r *rand.Rand) bool {
	isolation, markless := pgx.ReadCommitted, upTo(r, c.opts.pause)
	if chance(r, 0.3) {
		isolation = pgx.RepeatableRead
	}
	c.cleaning.Lock()
	defer c.cleaning.Unlock()
	c.unprepared.Add(1)
	defer c.unprepared.Add(-1)

	older, err := c.snapshot(ctx, pgx.RepeatableRead)
	if err != nil {
		return false
	}
	defer older.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // its session may have been terminated
	over := func(moment) {}
	if !k.undone {
		over = c.cleaned.begin(c.now())
	}
	// Whether a COMMIT without an answer was one matters to nobody: there is another.
	for !k.run(c, ctx, isolation) {
		if !sleep(ctx, 5*time.Millisecond) {
			return false
		}
	}
	c.checkRecent(ctx, older, olderSnapshot)
	_ = older.Rollback(context.WithoutCancel(ctx)) // what it has read is locked
	c.checkRecent(ctx, c.admin, afterCleaner)
	for !c.count(ctx, "SELECT count(*) FROM pgbarrier.horizon") {
		if !sleep(ctx, markless) {
			return true
		}
		_, _ = pgbarrier.Purge(ctx, c.admin, c.opts.retention) // makes a mark
		markless = 20 * time.Millisecond
	}
	if !k.unseen || c.repair(ctx) {
		over(c.now())
	}
	return true
}

// repair migrates: ENABLE TRIGGER ALL makes an ordinary trigger also of what was for replicas only, or for all.
// Until then a purge of one row is one of all.
func (c *chaos) repair(ctx context.Context) bool {
	for !migrateAgain(c, ctx, nil) {
		if !sleep(ctx, 20*time.Millisecond) {
			return false
		}
	}
	return true
}

// run reports whether it came to its end. It does not wait for the table for long, as others wait for it then.
func (k cleaner) run(c *chaos, ctx context.Context, isolation pgx.TxIsoLevel) bool {
	tx, err := c.snapshot(ctx, isolation)
	if err != nil {
		return false
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // it has ended if all went well
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '500ms'; "+k.sql); err != nil {
		if ctx.Err() == nil && !wire.IsOutage(err) {
			c.fail(wrong, nil, fmt.Sprintf("%s failed: %v", k.sql, err))
		}
		return false
	}
	return k.undone || tx.Commit(ctx) == nil
}

// snapshot begins a transaction; if it is to have one snapshot, it has it.
func (c *chaos) snapshot(ctx context.Context, isolation pgx.TxIsoLevel) (pgx.Tx, error) {
	tx, err := c.admin.BeginTx(ctx, pgx.TxOptions{IsoLevel: isolation})
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_current_snapshot()"); err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx)) // its session may have been terminated
		return nil, err
	}
	return tx, nil
}

// checkRecent asks for the last transactions' barriers: by a new snapshot, or by one that is older than the
// cleaner, to which a table that was truncated looks as if nothing had ever been in it.
func (c *chaos) checkRecent(ctx context.Context, db pgbarrier.DB, slot int) {
	var barriers []*barrier
	var tokens []pgbarrier.Token
	for _, tx := range c.ledger.recent(200) {
		if !tx.hold() {
			continue
		}
		defer tx.release()
		for _, b := range tx.barriers { // not written to any more
			barriers, tokens = append(barriers, b), append(tokens, b.token)
		}
	}
	began := c.now()
	statuses, err := pgbarrier.Check(ctx, db, tokens...)
	if err != nil && ctx.Err() == nil && !wire.IsOutage(err) {
		c.fail(wrong, nil, c.who(slot)+" failed: "+err.Error())
	}
	for i, status := range statuses {
		if status != pgbarrier.Pending {
			barriers[i].add(outcome{slot: slot, began: began, ended: c.now(), status: status})
		}
	}
}
