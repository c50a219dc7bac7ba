// Package scenario measures: each scenario is one question about speed, put to contenders or sizes in turns
// on one server, and fills one table.
package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
)

// A Scenario is one question.
type Scenario struct {
	Name  string
	About string
	Run   func(ctx context.Context, lab *Lab) error
}

// All are the scenarios in the order in which they run.
var All = []Scenario{
	{"load", "64 producers in a closed loop: commits/s, COMMIT sent → handler running", runLoad},
	{"idle", "COMMIT returned → handler running, one transaction at a time", runIdle},
	{"cost", "server CPU of a barrier beside two statements in one batch, also with schema 1's create()", runCost},
	{"abort", "ROLLBACK returned → waiting goroutine knows, 1 to 2,000 pending", runAbort},
	{"lone", "a worker that takes one message after the other, whose barriers have long committed", runLone},
	{"fleet", "1 to 128 listening processes on one database: server CPU per commit", runFleet},
	{"waits", "a million waits on one listener: heap, and a check beside them", runWaits},
	{"asynq", "an asynq worker whose queue is full: tasks/s, with a guard and without", runAsynq},
	{"jetstream", "COMMIT returned → handler running through NATS JetStream, one transaction at a time", runJetStream},
	{"held", "10,000 messages of 50 open transactions in a JetStream worker: memory, checks", runHeld},
}

// Named returns the scenarios that a comma-separated list of names asks for, all for none.
func Named(list string) ([]Scenario, error) {
	if list == "" {
		return All, nil
	}
	var out []Scenario
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(All, func(s Scenario) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no scenario is named %q: -list shows them", name)
		}
		out = append(out, All[i])
	}
	return out, nil
}

// Options say how much is measured.
type Options struct {
	Rounds   int
	Duration time.Duration // of one contender in one round
	// Quick makes everything small: it shows that everything works, its figures mean little.
	Quick bool
	// Contenders, unless nil, chooses.
	Contenders func(contender.Contender) bool
}

// pick returns most, or few with Quick.
func pick[T any](o Options, most, few T) T {
	if o.Quick {
		return few
	}
	return most
}

// turns calls measure for each row of the table in turn, Rounds times. Every second round goes the other way
// round, so that nobody always follows the same one.
func (l *Lab) turns(t *report.Table, measure func(i int, row *report.Row) error) error {
	for round := range l.Rounds {
		for turn := range t.Rows {
			i := turn
			if round%2 == 1 {
				i = len(t.Rows) - 1 - turn
			}
			row := t.Rows[i]
			l.Progress(fmt.Sprintf("%s · round %d/%d · %s", t.Scenario, round+1, l.Rounds, row.Name))
			if err := measure(i, row); err != nil {
				return fmt.Errorf("%s: %w", row.Name, err)
			}
		}
	}
	return nil
}

// compare is turns of contenders, each with its own database as if new.
func (l *Lab) compare(ctx context.Context, scenario, about string, keep func(contender.Contender) bool,
	measure func(c contender.Contender, db *Database, row *report.Row) error) error {
	contenders := slices.DeleteFunc(contender.All(), func(c contender.Contender) bool {
		return !keep(c) || l.Contenders != nil && !l.Contenders(c)
	})
	var names []string
	for _, c := range contenders {
		names = append(names, c.Name)
	}
	return l.turns(l.Report.Table(scenario, about, names...), func(i int, row *report.Row) error {
		db, err := l.database(ctx, contenders[i])
		if err != nil {
			return err
		}
		if err := l.settle(ctx, db); err != nil {
			return err
		}
		defer db.Pool.Reset() // of hundreds of connections, while the others have their turns
		return measure(contenders[i], db, row)
	})
}
