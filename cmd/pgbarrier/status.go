package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// statusBatch bounds one check.
const statusBatch = 5000

type statusCommand struct {
	database
	Tokens []string `arg:"" name:"token" help:"Tokens, or - for tokens from stdin, separated by white space."`
	JSON   bool     `name:"json" help:"Print one JSON object a line."`
}

func (c *statusCommand) Help() string {
	return `Prints one line a token: its outcome, when the barrier was created, the transaction's xid, the snapshot it was judged by and, if it is pending, the backend or prepared transaction that it waits for. To see backends of other roles the role needs pg_read_all_stats.

` + exitCodes
}

// finding is what there is to say about one token.
type finding struct {
	Outcome  string     `json:"outcome"`
	Token    string     `json:"token"`
	Problem  string     `json:"problem,omitempty"` // why it is not a token
	Created  *time.Time `json:"created,omitempty"`
	XID      uint64     `json:"xid,omitempty"`
	Snapshot string     `json:"snapshot,omitempty"`
	Producer *producer  `json:"producer,omitempty"` // of a pending one

	code int
}

func (c *statusCommand) Run(ctx context.Context, std streams) error {
	inquiries, err := readTokens(c.Tokens, std.in)
	if err != nil {
		return err
	}
	// Text that is no token needs no database to be told so.
	judgements := map[pgbarrier.Token]judged{}
	if tokens := valid(inquiries); len(tokens) > 0 {
		pool, err := c.connect(ctx)
		if err != nil {
			return err
		}
		defer pool.Close()
		if judgements, err = judge(ctx, pool, tokens); err != nil {
			return err
		}
	}
	worst := exitOK
	for _, q := range inquiries {
		f := find(q, judgements[q.token])
		worst = max(worst, f.code)
		if err := f.write(std.out, c.JSON); err != nil {
			return err
		}
	}
	return exit(worst)
}

// judged is a token's status, the snapshot it was judged by and, if it is pending, its producer.
type judged struct {
	status   pgbarrier.Status
	snapshot wire.Snapshot
	producer *producer
}

func judge(ctx context.Context, pool *pgxpool.Pool, tokens []pgbarrier.Token) (map[pgbarrier.Token]judged, error) {
	judgements := make(map[pgbarrier.Token]judged, len(tokens))
	var pending []uint64
	for len(tokens) > 0 {
		n := min(len(tokens), statusBatch)
		answer, err := wire.Check(ctx, pool, tokens[:n])
		if err != nil {
			return nil, err
		}
		for i, outcome := range answer.Outcomes {
			status := pgbarrier.Status(outcome)
			judgements[tokens[i]] = judged{status: status, snapshot: answer.Snapshot}
			if status == pgbarrier.Pending {
				pending = append(pending, tokens[i].XID)
			}
		}
		tokens = tokens[n:]
	}
	producers, err := findProducers(ctx, pool, pending)
	if err != nil {
		return nil, err
	}
	for token, j := range judgements {
		if p, found := producers[token.XID]; found && j.status == pgbarrier.Pending {
			j.producer = &p
			judgements[token] = j
		}
	}
	return judgements, nil
}

func find(q inquiry, j judged) finding {
	if q.problem != nil {
		status := pgbarrier.Invalid
		return finding{Outcome: status.String(), Token: q.text, Problem: q.problem.Error(), code: codeOfStatus(status)}
	}
	created := q.token.Created().UTC()
	return finding{
		Outcome:  j.status.String(),
		Token:    q.text,
		Created:  &created,
		XID:      q.token.XID,
		Snapshot: j.snapshot.String(),
		Producer: j.producer,
		code:     codeOfStatus(j.status),
	}
}

func (f finding) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return writeJSON(w, f)
	}
	parts := []string{fmt.Sprintf("%-14s %s", f.Outcome, f.Token)}
	if f.Problem != "" {
		// The problem quotes the text, shortened.
		parts = []string{fmt.Sprintf("%-14s %s", f.Outcome, strings.TrimPrefix(f.Problem, pgbarrier.ErrInvalidToken.Error()+": "))}
	}
	if f.Created != nil {
		parts = append(parts, fmt.Sprintf("created %s (%s ago)", f.Created.Format("2006-01-02 15:04:05.000Z07:00"), age(time.Since(*f.Created))))
	}
	if f.XID != 0 {
		parts = append(parts, fmt.Sprintf("xid %d", f.XID))
	}
	if f.Snapshot != "" {
		parts = append(parts, "snapshot "+f.Snapshot)
	}
	if f.Outcome == pgbarrier.Pending.String() && f.Snapshot != "" { // else it was not looked up
		parts = append(parts, f.Producer.String())
	}
	_, err := fmt.Fprintln(w, strings.Join(parts, "  "))
	return err
}

// age rounds d to what a person wants to know.
func age(d time.Duration) string {
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Minute:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}
