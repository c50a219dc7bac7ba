package listener

import (
	"flag"
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

// TestSimulation runs random schedules of the checker, the receiver and the set of waits on a
// model of the database, in fake time, some 1,000 steps each.
//
// Modelled: transactions with several barriers, savepoints, asynchronous commits, PREPARE; the
// announcing lock; snapshots with running xids at and above xmax; crashes that lose what was not
// flushed and hand out its xids again; purging. Statements of checks and probes that fail
// before or after they ran, are slow, time out, or lose their connection, which checkConn tries once
// more; answers under way in a crash, and late. Sessions that break, go deaf, stay half-open, or were never
// heard; an application's own receive loop; notifications that are late, reordered, lost, doubled or forged. Waits for one or several tokens, by Subscribe and
// by Wait, before, during and after, of transactions that never were, canceled, or closed with the
// listener. Not modelled: pgx and queryConn themselves (the model repeats what queryConn.do does),
// checks of more than tokensPerStatement tokens, standbys, the purger's loop.
//
// Invariants, by the words that a failure begins with:
//
//	outcome       nil only if each row was visible before the wait ended; ErrAborted only if the row
//	              never will be; ErrExpired only below the horizon
//	memory        no nil for a commit that a crash undid, once the listener has had an answer from the
//	              server's new life and its session from before has ended; none for several that were
//	              never visible at once
//	same outcome  every wait for a token gets the same, except across such a crash or a purge
//	no lost wait  a wait ends within a check under way, the pause that pace promises, and a check (see
//	              judgeDelays), counted from when its outcome is certain and the server is well
//	at once       an announcement ends the waits for its token, and so does a watch that saw its end
//	rate          checks keep MinDelay, and longer after failures; none is for nobody. So do watches
//	size          a check asks for what is new and what the snapshot does not show as running, a watch
//	              for what is waited for
//	silent        a session that does not hear is replaced within 1.5 heartbeats
//	nothing left  an ended or canceled wait leaves nothing; the listener's goroutines return
//
// A replay is exact: one goroutine draws everything from the seed, also which of the listener's goroutines
// goes on when several may (see turns), and only one runs at a time. The same seed and code give the same
// decisions, outcomes and times on any machine; TestASimulationIsReplayedByItsSeed compares. Changed code may
// make other calls and then gets another schedule from the same seed.
//
// That it can fail: TestTheSimulationNoticesBreakages, in integration_test, breaks the product in two dozen ways.
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
func simulate(t *testing.T, seed uint64, verbose bool) (s *simulation) {
	defer func() {
		if p := recover(); p != nil { // a deadlock, says synctest
			s.fail("it never returns: %v", p)
		}
	}()
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
	s.contact, s.samples, s.questioned = 1, make(map[uint64]int), make(map[[16]byte]bool)
	s.config = Config{
		PollOnly:  s.chance(0.2),
		MinDelay:  []time.Duration{time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond}[rng.IntN(3)],
		MaxDelay:  []time.Duration{time.Second, time.Second, 100 * time.Millisecond}[rng.IntN(3)],
		Heartbeat: []time.Duration{10 * time.Second, 2 * time.Second}[rng.IntN(2)],
		Logger:    discard,
	}
	s.fed = s.config.PollOnly && s.chance(0.6)
	s.server = &simServer{simulation: s, db: newSimDatabase(rng), up: true, backends: []int{0, 10, 100, 400}[rng.IntN(4)]}
	if s.chance(0.6) {
		s.server.faulty, s.server.lossy = rng.Float64()/3, rng.Float64()/3
	}
	s.waits = newWaitSet(func(Resolved) {
		if !s.deciding {
			s.turns.yield()
		}
	})
	s.listener = &Listener{waits: s.waits}
	s.listener.begun.Store(true)
	s.checker = newChecker(s.waits, s.config, s.server)
	s.checker.ask, s.checker.count, s.checker.pause = s.server.check, s.server.countSessions, s.turns.pause
	s.checker.few, s.checker.cut = simFew, 50
	s.checker.trace = func(report Checked) {
		s.checked(report)
		s.turns.yield()
	}
	if s.chance(0.2) {
		s.crowd()
	}
	return s
}

// simFew is checker.few of a simulation.
const simFew = 64

// crowd begins waits for more barriers than are asked for with every check. Their transaction is
// prepared, so that it outlives crashes.
func (s *simulation) crowd() {
	tx := s.server.db.begin()
	tx.stays, tx.quiet, tx.state = true, true, txPrepared
	s.server.db.flush()
	s.open = append(s.open, tx)
	if s.chance(0.7) {
		s.server.db.finish(s.server.db.begin(), txAborted) // so that snapshots list tx
	}
	for range simFew + 6 {
		s.create(tx)
	}
	if s.chance(0.5) {
		s.subscribe(s.barriers)
		return
	}
	for _, b := range s.barriers {
		s.subscribe([]*simBarrier{b})
	}
}
