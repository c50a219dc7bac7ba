package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// producerTimeout bounds a transaction that nothing happens to any more.
const producerTimeout = 2 * time.Minute

// A producer runs one transaction after the other on a connection of its own.
type producer struct {
	*chaos
	number   int
	conn     *pgx.Conn
	previous *barrier
}

func (p *producer) run(ctx context.Context) {
	defer p.disconnect()
	for n := 1; ctx.Err() == nil; n++ {
		if !p.awaitWorkers(ctx) || !p.connect(ctx) {
			return
		}
		tx := &transaction{producer: p.number, number: n, began: p.now(),
			plan: drawPlan(random(p.opts.seed, 1+p.number, n), p.opts)}
		// What has begun is ended as planned, also when the run is over.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), producerTimeout)
		p.transaction(limited, tx)
		cancel()
	}
}

// awaitWorkers pauses while too many messages are being worked on.
func (p *producer) awaitWorkers(ctx context.Context) bool {
	for p.messages.Load() >= int64(p.opts.workers) {
		if !sleep(ctx, 5*time.Millisecond) {
			return false
		}
	}
	return true
}

func (p *producer) connect(ctx context.Context) bool {
	for p.conn == nil || p.conn.IsClosed() {
		config := p.admin.Config().ConnConfig
		config.RuntimeParams["application_name"] = producing
		conn, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			p.conn = conn
		} else if !sleep(ctx, 20*time.Millisecond) {
			return false
		}
	}
	return true
}

func (p *producer) disconnect() {
	if p.conn != nil {
		_ = p.conn.Close(context.Background()) // broken or not
	}
}

// transaction does as tx.plan says, and enters tx into the ledger if any of its tokens got known.
func (p *producer) transaction(ctx context.Context, tx *transaction) {
	open, err := p.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: tx.plan.isolation})
	if err != nil {
		return
	}
	if err := p.create(ctx, open, tx); err != nil {
		p.failed.Add(1)
		// Tokens made before may have been handed out: they are judged like all others.
		_ = open.Rollback(ctx)
		p.ledger.enter(tx)
		tx.end(p.now(), toldAborted)
		for from := range tx.barriers {
			p.deliver(tx, message{from: from, to: from + 1, listener: from}, nil)
		}
		return
	}
	p.ledger.enter(tx)
	p.ended[tx.plan.ending].Add(1)
	previous := p.previous
	p.previous = tx.barriers[0]
	send := func(before bool) {
		for _, m := range tx.plan.messages {
			if m.before == before {
				p.deliver(tx, m, previous)
			}
		}
	}
	send(true)
	sleep(ctx, tx.plan.think)
	p.end(ctx, open, tx)
	send(false)
}

// create makes the barriers, and the rows that will tell whether they were committed.
func (p *producer) create(ctx context.Context, open pgx.Tx, tx *transaction) error {
	if settings := p.settings(tx.plan); settings != "" {
		if _, err := open.Exec(ctx, settings); err != nil {
			return err
		}
	}
	for _, g := range tx.plan.groups {
		in := open
		if g.savepoint {
			var err error
			if in, err = open.Begin(ctx); err != nil {
				return err
			}
		}
		if err := p.group(ctx, in, tx, g); err != nil {
			return err
		}
		if !g.savepoint {
			continue
		}
		end := in.Commit
		if g.lost {
			end = in.Rollback
		}
		if err := end(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settings are the transaction's own.
func (p *producer) settings(plan plan) string {
	var s strings.Builder
	if plan.async {
		s.WriteString("SET LOCAL synchronous_commit = off;")
	}
	for i, d := range plan.timeouts {
		if d > 0 && p.server.Major() >= timeoutKinds[i].since {
			fmt.Fprintf(&s, "SET LOCAL %s = %d;", timeoutKinds[i].name, d.Milliseconds())
			p.timed[i].Add(1)
		}
	}
	return s.String()
}

func (p *producer) group(ctx context.Context, in pgx.Tx, tx *transaction, g group) error {
	var opts []notify.Option
	if tx.plan.quiet || p.quiet.Load() {
		opts = []notify.Option{notify.WithoutAnnouncement()}
	}
	first := p.ledger.keys(g.barriers)
	tokens := make([]pgbarrier.Token, g.barriers)
	batch := new(pgx.Batch)
	batch.Queue("INSERT INTO chaos.truth SELECT generate_series($1::bigint, $2::bigint)", first, first+int64(g.barriers)-1)
	if g.one {
		for i := range tokens {
			var err error
			if tokens[i], err = notify.Create(ctx, in, opts...); err != nil {
				return err
			}
		}
	} else {
		for i := range tokens {
			notify.Queue(batch, &tokens[i], opts...)
		}
	}
	if err := in.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	for i, token := range tokens {
		tx.barriers = append(tx.barriers, &barrier{tx: tx, key: first + int64(i), token: token})
	}
	return nil
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	alarm := time.NewTimer(d)
	defer alarm.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-alarm.C:
		return true
	}
}
