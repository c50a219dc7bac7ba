package main

import (
	"context"
	"errors"
	"fmt"
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
		what = p.commit(ctx, open, tx)
	case rollsBack:
		if open.Rollback(ctx) == nil {
			what = toldAborted
		}
	case fails:
		_, _ = open.Exec(ctx, "SELECT 1/0")
		what = p.commit(ctx, open, tx)
	case terminatedBefore:
		p.terminate(ctx)
		what = p.commit(ctx, open, tx)
	case terminatedDuring:
		var killing sync.WaitGroup
		killing.Go(func() {
			sleep(ctx, tx.plan.timing)
			p.terminate(ctx)
		})
		what = p.commit(ctx, open, tx)
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

// commit returns what the producer is told.
func (p *producer) commit(ctx context.Context, open pgx.Tx, tx *transaction) told {
	sent := p.now()
	err := open.Commit(ctx)
	if err == nil {
		return toldCommitted
	}
	p.noteRefusal(tx, sent, err)
	var refused *pgconn.PgError
	if errors.Is(err, pgx.ErrTxCommitRollback) || errors.As(err, &refused) && refused.Severity == "ERROR" {
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
	sent := p.now()
	if _, err := open.Exec(ctx, "PREPARE TRANSACTION '"+name+"'"); err != nil {
		p.noteRefusal(tx, sent, err)
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
			p.leave(tx.plan.later)
			if tx.plan.keep {
				p.resolve(tx, "COMMIT PREPARED '"+name+"'", toldCommitted)
			} else {
				p.resolve(tx, "ROLLBACK PREPARED '"+name+"'", toldAborted)
			}
		})
	}
}

// leave leaves a transaction prepared for so long, unless somebody needs the locks that it holds.
func (p *producer) leave(later time.Duration) {
	for until := p.now() + later; p.now() < until && p.unprepared.Load() == 0; {
		if !sleep(p.hurry, 10*time.Millisecond) {
			return
		}
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
