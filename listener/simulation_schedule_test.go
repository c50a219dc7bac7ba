package listener

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"slices"
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
	watches   bool // the listener has a watcher
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
		if s.watches {
			w := &watcher{waits: s.waits, watch: s.server.watch, pace: s.checker.pace, log: discard}
			s.tasks.Go(func() { w.run(ctx) })
		}
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
	s.server.look()
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
	for _, c := range slices.Concat(s.server.checks.queue, []*simCall{s.server.checks.busy, s.server.watches.busy}) {
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
