// Package scenario measures: each scenario is one question about speed, put to the contenders in
// turns on one server.
package scenario

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
)

// A Scenario is one question.
type Scenario struct {
	Number int
	Name   string
	About  string
	Run    func(ctx context.Context, lab *Lab) error
}

// Title is what the report calls it.
func (s Scenario) Title() string { return fmt.Sprintf("%d %s", s.Number, s.Name) }

// All are the scenarios in the order in which they run.
var All = []Scenario{
	{1, "idle", "COMMIT returned → handler running, one transaction at a time", runIdle},
	{2, "load", "1 to 256 producers in a closed loop: commits/s, COMMIT sent → handler running", runLoad},
	{3, "cost", "what handing out work adds to the producer's transaction", runCost},
	{4, "abort", "ROLLBACK returned or producer killed → waiting goroutine knows; queries while idle", runAbort},
	{5, "waiters", "1k to 1M waits on one listener: heap, registering, waking, checking", runWaiters},
	{6, "fleet", "1 to 128 listening processes on one database", runFleet},
	{7, "growth", "1k to 10M barrier rows; purging under load", runGrowth},
}

// Named returns the scenarios that a comma-separated list of numbers and names asks for, all for none.
func Named(list string) ([]Scenario, error) {
	if list == "" {
		return All, nil
	}
	var out []Scenario
	for _, name := range strings.Split(list, ",") {
		i := slices.IndexFunc(All, func(s Scenario) bool { return s.Name == name || strconv.Itoa(s.Number) == name })
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
	// Quick leaves out most cases and sizes: it shows that everything works, its figures mean little.
	Quick bool
	// Cases, unless nil, chooses by their names.
	Cases func(name string) bool
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

// skips tells whether a case is not to be run.
func (o Options) skips(name string) bool { return o.Cases != nil && !o.Cases(name) }

// rounds calls measure for each contender in turn, Rounds times, with its worker's database ready. Every
// second round goes the other way round, so that nobody always follows the same one.
func (l *Lab) rounds(ctx context.Context, what string, contenders []contender.Contender, measure func(c contender.Contender, db *Database) error) error {
	for round := range l.Rounds {
		turn := slices.Clone(contenders)
		if round%2 == 1 {
			slices.Reverse(turn)
		}
		for _, c := range turn {
			l.Progress(fmt.Sprintf("%s · round %d/%d · %s", what, round+1, l.Rounds, c.Name))
			db, err := l.database(ctx, c)
			if err == nil && c.Clear != "" {
				_, err = db.Pool.Exec(ctx, c.Clear)
			}
			if err == nil {
				err = measure(c, db)
				db.Pool.Reset() // hundreds of connections, while the others have their turns
			}
			if err != nil {
				return fmt.Errorf("%s, %s: %w", what, c.Name, err)
			}
		}
	}
	return nil
}

// contenders returns those that are chosen and that keep.
func (l *Lab) contenders(keep func(contender.Contender) bool) []contender.Contender {
	return slices.DeleteFunc(contender.All(), func(c contender.Contender) bool {
		return !keep(c) || l.Contenders != nil && !l.Contenders(c)
	})
}

// rowsInOrder gives the table its rows in the contenders' order, not in that of the last round.
func rowsInOrder(t *report.Table, contenders []contender.Contender) {
	for _, c := range contenders {
		t.Row(c.Name)
	}
}
