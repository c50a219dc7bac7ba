package listener

import (
	"container/heap"
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// A simulation is one schedule: what happens next, and when, is drawn from the seed by one
// goroutine. Whenever it decides, all others are blocked (synctest.Wait).
type simulation struct {
	rng       *rand.Rand
	config    Config
	server    *simServer
	box       mailbox
	events    simEvents
	numbered  int
	steps     int
	actions   int  // still to come
	finishing bool // no more faults
	stopped   bool
	begun     time.Time

	waits    *waitSet
	listener *Listener
	checker  *checker
	tasks    sync.WaitGroup

	barriers []*simBarrier
	open     []*simTransaction // by the actions, to be ended by them
	live     []*simWait
	last     uint64 // number of the last wait
	invariants

	failure string
	verbose bool
	trace   []string
	digest  uint64 // of all that was decided and observed
}

type simEvent struct {
	at     time.Time
	number int // earlier first at the same time
	name   string
	do     func()
}

type simEvents []simEvent

func (e simEvents) Len() int      { return len(e) }
func (e simEvents) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e simEvents) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].number < e[j].number
}
func (e *simEvents) Push(x any) { *e = append(*e, x.(simEvent)) }
func (e *simEvents) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (s *simulation) after(d time.Duration, name string, do func()) {
	s.numbered++
	heap.Push(&s.events, simEvent{time.Now().Add(d), s.numbered, name, do})
}

func (s *simulation) chance(p float64) bool { return s.rng.Float64() < p }

// within returns a random time below d. Nanoseconds, so that no two things coincide.
func (s *simulation) within(d time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(d)))
}

// log notes what was decided or observed. Two runs of a seed have the same digest.
func (s *simulation) log(what string, numbers ...uint64) {
	s.digest = maphash.Comparable(digestSeed, digest{s.digest, what, time.Since(s.begun)})
	for _, n := range numbers {
		s.digest = s.digest*1_000_003 + n
	}
	if s.verbose {
		s.trace = append(s.trace, fmt.Sprintf("%14v  %s %v", time.Since(s.begun), what, numbers))
	}
}

type digest struct {
	before uint64
	what   string
	at     time.Duration
}

var digestSeed = maphash.MakeSeed()

func (s *simulation) fail(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
		s.log("FAILED: " + s.failure)
	}
}

// run returns after the schedule's last event, or the first failure.
func (s *simulation) run() {
	ctx, cancel := context.WithCancel(context.Background())
	s.tasks.Go(func() { s.checker.run(ctx) })
	if !s.config.PollOnly {
		jitter := rand.New(rand.NewPCG(s.rng.Uint64(), 0)) // of the receiver's goroutine
		r := &receiver{waits: s.waits, listen: s.server.listen, notify: s.server.notify, heartbeat: s.config.Heartbeat,
			pause: func(mean time.Duration) time.Duration { return mean/2 + time.Duration(jitter.Int64N(int64(mean))) },
			ready: func() {}, status: s.checker.status, log: discard, trace: s.receiverTrace()}
		s.tasks.Go(func() { r.run(ctx) })
	}
	s.act()
	for s.failure == "" && !s.over() {
		s.step()
	}
	cancel()
	s.waits.close(pgbarrier.ErrClosed)
	s.join()
	synctest.Wait()
	if s.failure == "" {
		s.sweep()
		s.leftBehind()
	}
}

func (s *simulation) over() bool { return s.stopped || s.finishing && len(s.live) == 0 }

// step lets everybody else run until they block, judges what they did, and makes the next thing
// happen.
func (s *simulation) step() {
	synctest.Wait()
	s.steps++
	s.hear()
	s.takeCalls()
	s.sweep()
	if s.failure != "" {
		return
	}
	if len(s.events) == 0 || s.events[0].at.After(time.Now()) {
		pause := time.Minute
		if len(s.events) > 0 {
			pause = time.Until(s.events[0].at)
		}
		alarm := time.NewTimer(pause)
		defer alarm.Stop()
		select {
		case <-alarm.C:
		case <-s.box.signal:
		}
		return
	}
	e := heap.Pop(&s.events).(simEvent)
	if e.name != "" {
		s.log(e.name)
	}
	e.do()
	s.decide()
}

// takeCalls takes the calls that were made since the last step. If two goroutines called at the same
// instant, it does not matter which was first.
func (s *simulation) takeCalls() {
	s.box.mu.Lock()
	calls := s.box.calls
	s.box.calls = nil
	s.box.mu.Unlock()
	for kind := callJudge; kind <= callPing; kind++ {
		for _, c := range calls {
			if c.kind == kind {
				s.log(c.kind.String()+", check, tokens", c.check, uint64(len(c.tokens)))
				s.called(c)
				s.server.take(c)
			}
		}
	}
}

// join answers every call with an error until all goroutines have returned.
func (s *simulation) join() {
	joined := make(chan struct{})
	go func() { s.tasks.Wait(); close(joined) }()
	for _, c := range append(s.server.queue, s.server.busy) {
		if c != nil {
			c.reply <- simReply{err: errStopped}
		}
	}
	for {
		s.box.mu.Lock()
		for _, c := range s.box.calls {
			c.reply <- simReply{err: errStopped}
		}
		s.box.calls = nil
		s.box.mu.Unlock()
		// The listens and pings that wait for an event.
		for len(s.events) > 0 {
			e := heap.Pop(&s.events).(simEvent)
			if e.name == "listens" || e.name == "listen fails" || e.name == "ping" {
				e.do()
			}
		}
		select {
		case <-joined:
			return
		case <-s.box.signal:
		case <-time.After(time.Hour):
			panic("the listener does not return")
		}
	}
}
