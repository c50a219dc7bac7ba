package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// end ends the transaction as planned, and notes when that was and what the producer was told.
func (p *producer) end(ctx context.Context, open pgx.Tx, tx *transaction) {
	what := toldNothing
	switch tx.plan.ending {
	case commits:
		what = toldOf(open.Commit(ctx))
	case rollsBack:
		if open.Rollback(ctx) == nil {
			what = toldAborted
		}
	case fails:
		_, _ = open.Exec(ctx, "SELECT 1/0")
		what = toldOf(open.Commit(ctx))
	case terminatedBefore:
		p.terminate(ctx)
		what = toldOf(open.Commit(ctx))
	case terminatedDuring:
		var killing sync.WaitGroup
		killing.Go(func() {
			sleep(ctx, tx.plan.timing)
			p.terminate(ctx)
		})
		what = toldOf(open.Commit(ctx))
		killing.Wait()
	case cutBefore:
		p.cut()
	case cutDuring:
		// Not told anything: the answer is not read.
		front := p.conn.PgConn().Frontend()
		front.SendQuery(&pgproto3.Query{String: "COMMIT"})
		if front.Flush() == nil {
			sleep(ctx, tx.plan.timing/2)
		}
		p.cut()
	default:
		p.prepare(ctx, open, tx)
		return
	}
	tx.end(p.now(), what)
}

// toldOf is what the result of COMMIT tells.
func toldOf(err error) told {
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return toldCommitted
	case errors.Is(err, pgx.ErrTxCommitRollback):
		return toldAborted
	case errors.As(err, &refused) && strings.HasPrefix(refused.Code, "40"): // serialization failure
		return toldAborted
	}
	return toldNothing
}

// terminate ends the producer's backend. Whether it did shows in what becomes of the transaction.
func (p *producer) terminate(ctx context.Context) {
	_, _ = p.admin.Exec(ctx, "SELECT pg_terminate_backend($1)", p.conn.PgConn().PID())
}

// cut closes the socket without a goodbye.
func (p *producer) cut() {
	_ = p.conn.PgConn().Conn().Close()
	p.disconnect() // finds it closed
}

// prepare does the first phase, and the second one now or later.
func (p *producer) prepare(ctx context.Context, open pgx.Tx, tx *transaction) {
	name := fmt.Sprintf("chaos_%d_%d", tx.producer, tx.number)
	if _, err := open.Exec(ctx, "PREPARE TRANSACTION '"+name+"'"); err != nil {
		var refused *pgconn.PgError
		if errors.As(err, &refused) && !p.conn.IsClosed() {
			_ = open.Rollback(ctx)
			tx.end(p.now(), toldAborted)
			return
		}
		// It may be prepared all the same: roll it back if so.
		p.resolve(tx, "ROLLBACK PREPARED '"+name+"'", toldAborted)
		return
	}
	switch tx.plan.ending {
	case preparedCommits:
		p.resolve(tx, "COMMIT PREPARED '"+name+"'", toldCommitted)
	case preparedRollsBack:
		p.resolve(tx, "ROLLBACK PREPARED '"+name+"'", toldAborted)
	default:
		p.resolving.Go(func() {
			sleep(p.hurry, tx.plan.later)
			if tx.plan.keep {
				p.resolve(tx, "COMMIT PREPARED '"+name+"'", toldCommitted)
			} else {
				p.resolve(tx, "ROLLBACK PREPARED '"+name+"'", toldAborted)
			}
		})
	}
}

// resolve does the second phase, for as long as it takes. That there is no such transaction (any
// more) is proof enough that it has ended, if its backend had the time to prepare it.
func (p *producer) resolve(tx *transaction, sql string, what told) {
	missing := 0
	for p.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), producerTimeout)
		_, err := p.admin.Exec(ctx, sql)
		cancel()
		var refused *pgconn.PgError
		switch {
		case err == nil:
			tx.end(p.now(), what)
			return
		case errors.As(err, &refused) && refused.Code == "42704": // undefined_object
			if missing++; missing == 3 {
				tx.end(p.now(), toldNothing)
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}
