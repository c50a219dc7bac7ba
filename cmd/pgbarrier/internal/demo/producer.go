package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier/notify"
)

// A request asks the orders service for an order.
type request struct {
	ID       int     `json:"id"`
	Declined bool    `json:"declined"`
	Pause    float64 `json:"pause"` // ms
}

// A line is what a producer process writes: a message, if the queue is the channel, or the response to a request.
type line struct {
	Message  *Message  `json:"message,omitempty"`
	Response *response `json:"response,omitempty"`
}

type response struct {
	Request   int       `json:"request"`
	Committed time.Time `json:"committed,omitzero"` // when COMMIT returned
	Error     string    `json:"error,omitempty"`
}

// A producer is one process of the orders service.
type producer struct {
	approach string
	pool     *pgxpool.Pool
	queue    sender
	out      *log.Logger // writes a line at a time
}

// Produce is the orders service's process: it takes requests from in, places orders, sends messages to the queue, or
// else to out, and writes responses to out. It ends with in, or when the process is killed.
func Produce(ctx context.Context, databaseURL, queue, approach string, in io.Reader, out io.Writer) error {
	pool, err := connect(ctx, databaseURL, producerApplication, requestsAtOnce)
	if err != nil {
		return err
	}
	defer pool.Close()
	p := &producer{approach: approach, pool: pool, out: log.New(out, "", 0)}
	p.queue = stdout{p}
	if queue != "" {
		at, err := parseAddress(queue)
		if err != nil {
			return err
		}
		if p.queue, err = kinds[at.kind].dial(ctx, at.url, at.name); err != nil {
			return err
		}
	}
	defer p.queue.close()
	var requests sync.WaitGroup
	defer requests.Wait()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("not a request: %w", err)
		}
		requests.Go(func() { p.respond(ctx, r) })
	}
	return nil
}

func (p *producer) respond(ctx context.Context, r request) {
	place := p.placeWithBarrier
	switch p.approach {
	case "enqueue_before_commit":
		place = p.placeEnqueueFirst
	case "enqueue_after_commit":
		place = p.placeCommitFirst
	}
	answer := response{Request: r.ID}
	err := place(ctx, r, &answer.Committed)
	if err != nil && !errors.Is(err, errDeclined) {
		answer.Error = err.Error()
	}
	_ = p.write(line{Response: &answer}) // who asked has gone: so will this process
}

// errDeclined rolls back.
var errDeclined = errors.New("the order was declined")

// placeEnqueueFirst is approach a: nothing is lost, but the worker does not wait for COMMIT.
func (p *producer) placeEnqueueFirst(ctx context.Context, r request, committed *time.Time) error {
	err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if err := p.insert(ctx, tx, r, uuid.NullUUID{}); err != nil {
			return err
		}
		if err := p.queue.send(ctx, r.ID); err != nil {
			return err
		}
		return r.rest()
	})
	return note(committed, err)
}

// placeCommitFirst is approach b: the worker finds the order, unless this process ends in between.
func (p *producer) placeCommitFirst(ctx context.Context, r request, committed *time.Time) error {
	err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if err := p.insert(ctx, tx, r, uuid.NullUUID{}); err != nil {
			return err
		}
		return r.decision()
	})
	if note(committed, err) != nil {
		return err
	}
	r.otherWork()
	return p.queue.send(ctx, r.ID)
}

// placeWithBarrier is approaches c and d: a, with a context that knows the transaction.
func (p *producer) placeWithBarrier(ctx context.Context, r request, committed *time.Time) error {
	err := notify.BeginFunc(ctx, p.pool, func(ctx context.Context, tx pgx.Tx) error {
		barrier, _, err := notify.Current(ctx) // only for the demo's own count
		if err != nil {
			return err
		}
		if err := p.insert(ctx, tx, r, uuid.NullUUID{UUID: barrier.ID, Valid: true}); err != nil {
			return err
		}
		if err := p.queue.send(ctx, r.ID); err != nil {
			return err
		}
		return r.rest()
	})
	return note(committed, err)
}

// note sets *committed if COMMIT has just returned.
func note(committed *time.Time, err error) error {
	if err == nil {
		*committed = time.Now()
	}
	return err
}

func (p *producer) insert(ctx context.Context, tx pgx.Tx, r request, barrier uuid.NullUUID) error {
	_, err := tx.Exec(ctx, "INSERT INTO pgbarrier_demo.orders VALUES ($1, $2, $3)", p.approach, r.ID, barrier)
	return err
}

// rest is what the transaction does after the enqueue.
func (r request) rest() error {
	r.otherWork()
	return r.decision()
}

func (r request) decision() error {
	if r.Declined {
		return errDeclined
	}
	return nil
}

// otherWork stands for what a service does besides: another query, a call, a garbage collection.
func (r request) otherWork() { time.Sleep(time.Duration(r.Pause * float64(time.Millisecond))) }

// stdout is the way to the channel.
type stdout struct{ *producer }

func (s stdout) send(ctx context.Context, request int) error {
	barrier, _, err := notify.Current(ctx)
	if err != nil {
		return err
	}
	return s.write(line{Message: &Message{Request: request, Barrier: barrier}})
}

func (s stdout) close() {}

// write writes l in one piece. It is shorter than PIPE_BUF, so the reader gets all of it or, if this
// process is killed, nothing.
func (p *producer) write(l line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return p.out.Output(0, string(text))
}
