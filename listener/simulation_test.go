package listener

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	simSeed      = flag.Uint64("sim.seed", 0, "replay the schedule with this seed; with -sim.schedules or -sim.duration begin with it")
	simSchedules = flag.Int("sim.schedules", 0, "simulate so many schedules")
	simDuration  = flag.Duration("sim.duration", 0, "simulate for so long; 2s by default")
)

// TestSimulation runs random schedules.
func TestSimulation(t *testing.T) {
	schedules, duration := *simSchedules, *simDuration
	first := *simSeed
	switch {
	case first != 0 && schedules == 0 && duration == 0:
		schedules = 1
	case first == 0:
		first = rand.Uint64()>>16 + 1
	}
	if schedules == 0 && duration == 0 {
		duration = 2 * time.Second
	}
	begun := time.Now()
	var mu sync.Mutex
	next, done := first, 0
	var steps atomic.Int64
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if t.Failed() || schedules > 0 && done >= schedules || duration > 0 && time.Since(begun) > duration {
			return 0, false
		}
		next++
		done++
		return next - 1, true
	}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				s := simulate(t, seed, false)
				steps.Add(int64(s.steps))
				if s.failure != "" {
					again := simulate(t, seed, true)
					t.Errorf("%s\nreplay: go test ./listener -run '^TestSimulation$' -sim.seed=%d\n%s", s.failure, seed, story(again))
				}
			}
		})
	}
	workers.Wait()
	took := time.Since(begun)
	t.Logf("%d schedules (%d steps) from seed %d in %v: %.0f/s", done, steps.Load(), first, took.Round(time.Millisecond), float64(done)/took.Seconds())
}

// story is the end of what a schedule did.
func story(s *simulation) string {
	trace := s.trace
	if len(trace) > 60 {
		trace = trace[len(trace)-60:]
	}
	return strings.Join(trace, "\n")
}

// simulate runs the schedule of one seed in a bubble of its own.
func simulate(t *testing.T, seed uint64, verbose bool) *simulation {
	defer func() {
		if p := recover(); p != nil {
			panic(fmt.Sprintf("-sim.seed=%d: %v", seed, p))
		}
	}()
	var s *simulation
	synctest.Test(t, func(*testing.T) {
		s = newSimulation(seed)
		s.verbose = verbose
		s.run()
	})
	return s
}

func newSimulation(seed uint64) *simulation {
	rng := rand.New(rand.NewPCG(seed, 0))
	s := &simulation{rng: rng, begun: time.Now(), actions: 10 + rng.IntN(50)}
	s.box.signal = make(chan struct{}, 1)
	s.contact = 1
	s.config = Config{
		PollOnly:  s.chance(0.2),
		MinDelay:  []time.Duration{time.Millisecond, time.Millisecond, 5 * time.Millisecond}[rng.IntN(3)],
		MaxDelay:  []time.Duration{time.Second, time.Second, 100 * time.Millisecond}[rng.IntN(3)],
		Heartbeat: []time.Duration{10 * time.Second, 2 * time.Second}[rng.IntN(2)],
	}
	s.server = &simServer{simulation: s, db: newSimDatabase(rng), up: true}
	if s.chance(0.6) {
		s.server.faulty, s.server.lossy = rng.Float64()/3, rng.Float64()/3
	}
	s.waits = newWaitSet(nil)
	s.listener = &Listener{waits: s.waits}
	s.checker = &checker{waits: s.waits, judge: s.server.judge, pace: pace{s.config.MinDelay, s.config.MaxDelay},
		status: new(status), log: discard}
	if s.chance(0.2) {
		s.crowd()
	}
	return s
}

// crowd begins a wait for more barriers than are asked for with every check.
func (s *simulation) crowd() {
	tx := s.server.db.begin()
	tx.stays = true
	s.open = append(s.open, tx)
	s.server.db.finish(s.server.db.begin(), txAborted) // so that snapshots list tx
	for range fewTokens + 6 {
		s.create(tx)
	}
	s.subscribe(s.barriers)
}
