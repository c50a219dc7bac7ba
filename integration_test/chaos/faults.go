package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// A fault does harm and, if it lasts, undoes it when it is over or when ctx ends. It returns whether
// it found anything to harm.
type faultKind struct {
	name   string
	weight int  // how often, compared with the others
	alone  bool // the next fault waits for its end
	inject func(c *chaos, ctx context.Context, r *rand.Rand) bool
}

// faults are all kinds.
var faults = [...]faultKind{
	{"server crash (SIGKILL) and recovery", 4, true, crash},
	{"server restart", 3, true, restart},
	{"LISTEN backends terminated", 8, false, terminateListening},
	{"checking backends terminated", 5, false, terminateChecking},
	{"every session terminated", 3, false, terminateAll},
	{"running checks canceled", 8, false, cancelChecks},
	{"connections swallowed (half-open)", 5, false, swallow},
	{"connections reset", 4, false, reset},
	{"connections refused for a while", 3, false, refuse},
	{"slow network for a while", 5, false, slow},
	{"announcement lock held for a while", 6, false, holdLock},
	{"announcing off for a while", 5, false, announceNothing},
	{"forged, duplicated, malformed notifications", 8, false, forge},
	{"idle transaction that listens, for a while", 4, false, idleInTransaction},
	{"somebody's NOTIFY held in COMMIT for a while", 6, false, holdNotify},
	{"tens of thousands of notifications of 7.9 kB, elsewhere", 3, false, notifyMuch},
	{"the server's table of locks full for a while", 2, false, fillLocks},
	{"one session left to a listener's role, and no check", 2, false, limitConnections},
	{"TRUNCATE", 3, false, cleaner{sql: truncates}.clean},
	{"TRUNCATE, session_replication_role = replica", 2, false, cleaner{sql: asReplica + truncates}.clean},
	{"TRUNCATE, triggers disabled", 2, false, cleaner{sql: withoutTriggers(truncates), unseen: true}.clean},
	{"TRUNCATE, rolled back", 1, false, cleaner{sql: truncates, undone: true}.clean},
	{"DELETE of all", 2, false, cleaner{sql: deletesAll}.clean},
	{"DELETE of all, triggers disabled", 2, false, cleaner{sql: withoutTriggers(deletesAll), unseen: true}.clean},
	{"DELETE of some", 3, false, cleaner{sql: deletesSome}.clean},
	{"DELETE of some, session_replication_role = replica", 2, false, cleaner{sql: asReplica + deletesSome}.clean},
	{"listener stopped and replaced", 6, false, replaceListener},
	{"CHECKPOINT", 2, false, statement("CHECKPOINT")},
	{"VACUUM FREEZE", 2, false, statement("VACUUM FREEZE pgbarrier.barrier")},
	{"schema migrated again", 2, false, migrateAgain},
}

// deck returns the kinds with only in their names in a random order, each as often as its weight says; the
// first deck has each once, so that a short run sees all.
func deck(r *rand.Rand, only string, first bool) []int {
	var cards []int
	for i := range faults {
		n := faults[i].weight
		if !strings.Contains(faults[i].name, only) {
			continue
		}
		if first {
			n = 1
		}
		for range n {
			cards = append(cards, i)
		}
	}
	r.Shuffle(len(cards), func(i, j int) { cards[i], cards[j] = cards[j], cards[i] })
	return cards
}

// injectFaults injects one after the other until ctx ends, and returns when all are over.
func (c *chaos) injectFaults(ctx context.Context) error {
	r := random(c.opts.seed, 1000, 0)
	var lasting sync.WaitGroup
	defer lasting.Wait()
	cards := deck(r, c.opts.only, true)
	for n := 0; sleep(ctx, c.opts.pause/2+upTo(r, c.opts.pause)); n++ {
		if len(cards) == 0 {
			cards = deck(r, c.opts.only, false)
		}
		kind := cards[0]
		cards = cards[1:]
		inject := func() {
			defer c.tried.Add(1)
			began := c.now()
			if faults[kind].inject(c, ctx, random(c.opts.seed, 1001, n)) {
				c.injected[kind].Add(1)
			} else {
				c.missed.Add(1)
			}
			if c.opts.verbose {
				c.out.Printf("%s to %s  %s\n", clock(began), clock(c.now()), faults[kind].name)
			}
		}
		if !faults[kind].alone {
			lasting.Go(inject)
			continue
		}
		inject()
		if _, up := c.outages.back(); !up {
			return fmt.Errorf("the server did not come back after %q", faults[kind].name)
		}
	}
	return nil
}

// faultsInjected counts those that found something to harm.
func (c *chaos) faultsInjected() int {
	n := 0
	for i := range c.injected {
		n += int(c.injected[i].Load())
	}
	return n
}

// aWhile is for how long a lasting fault lasts.
func aWhile(c *chaos, r *rand.Rand) time.Duration { return c.opts.pause/4 + upTo(r, 2*c.opts.pause) }
