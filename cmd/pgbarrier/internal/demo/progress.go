package demo

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgbarrier/pgbarrier/cmd/pgbarrier/internal/statusline"
)

// A progress shows what the demonstration is doing: a line that updates on a terminal, otherwise a
// line when something is done.
type progress struct {
	terminal
	statusline.Line
}

func newProgress(w io.Writer) *progress { return &progress{newTerminal(w), statusline.New(w)} }

// say shows what is being done until something else is.
func (p *progress) say(text string) {
	if p.Live {
		p.Say(text)
		return
	}
	fmt.Fprintln(p, text)
}

// done replaces what was said last, for good.
func (p *progress) done(text string) {
	p.End()
	fmt.Fprintln(p, text)
}

// introduce tells what is to be seen.
func (p *progress) introduce(b *base, k kind, requests []request) {
	declined := 0
	for _, r := range requests {
		if r.Declined {
			declined++
		}
	}
	p.done(fmt.Sprintf(`%s

An orders service of %d processes gets %s requests; each is a transaction that
inserts an order, and %s of them roll back. A message per order goes through a
queue that knows nothing of PostgreSQL (here %s) to a
worker that reads the order. About %d times a second one of the processes is
killed (SIGKILL) and replaced. The same load, %d ways:
`, p.paint(bold, "pgbarrier demo")+" on "+b.description, processes, thousands(len(requests)), thousands(declined), k.title,
		time.Second/killEvery, len(approaches)))
}

const refresh = 100 * time.Millisecond

// watch shows how far an approach is until ctx ends, and then how far it came.
func (p *progress) watch(ctx context.Context, b *base, a approach, requests int) {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if text, err := p.state(context.WithoutCancel(ctx), b, a, 1); err == nil {
				p.done(text) // the last requests may have been declined: of 1, the bar is full
			}
			return
		case <-tick.C:
		}
		if !p.Live {
			continue
		}
		if text, err := p.state(ctx, b, a, requests); err == nil {
			p.say(text)
		}
	}
}

const (
	titleWidth = 23
	barWidth   = 15
)

// state asks the database how far an approach is.
func (p *progress) state(ctx context.Context, b *base, a approach, requests int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var arrived, orders, runs, producers, listens int
	err := b.pool.QueryRow(ctx, `
		SELECT (SELECT coalesce(max(request), 0) FROM pgbarrier_demo.orders WHERE approach = $1),
			(SELECT count(*) FROM pgbarrier_demo.orders WHERE approach = $1),
			(SELECT count(*) FROM pgbarrier_demo.runs WHERE approach = $1),
			(SELECT count(*) FROM pgbarrier_demo.incidents WHERE approach = $1 AND what = 'producer'),
			(SELECT count(*) FROM pgbarrier_demo.incidents WHERE approach = $1 AND what <> 'producer')`,
		a.name).Scan(&arrived, &orders, &runs, &producers, &listens)
	if err != nil {
		return "", err
	}
	kills := fmt.Sprintf("%d kills", producers)
	if a.cut {
		kills = fmt.Sprintf("%d+%d kills", producers, listens)
	}
	bar := p.bar(min(arrived, requests), requests, barWidth)
	empty := strings.Repeat(p.shade(), barWidth-utf8.RuneCountInString(bar))
	return fmt.Sprintf("%-*s %s%s %5s orders %5s runs  %s", titleWidth, a.title,
		p.paint(green, bar), p.paint(dim, empty), thousands(orders), thousands(runs), kills), nil
}

func (t terminal) shade() string {
	if t.fancy {
		return "░"
	}
	return "."
}
