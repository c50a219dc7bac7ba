package listener

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// A simulation is one schedule: what happens next, and when, is drawn from the seed by one
// goroutine, and only while all others have stopped, see turns.
type simulation struct {
	rng       *rand.Rand
	config    Config
	server    *simServer
	turns     turns
	events    simEvents
	numbered  int
	steps     int
	actions   int  // still to come
	finishing bool // no more faults
	fed       bool // the application has a receive loop of its own
	stopped   bool
	joining   bool // calls are not answered any more
	deciding  bool // an event happens
	begun     time.Time

	waits    *waitSet
	listener *Listener
	checker  *checker
	tasks    sync.WaitGroup

	barriers  []*simBarrier
	open      []*simTransaction // by the actions, to be ended by them
	live      []*simWait
	questions []*simQuestion
	last      uint64 // number of the last wait or question
	invariants

	failure string
	verbose bool
	trace   []string
	digest  uint64 // of all that was decided and observed
}

// run returns after the schedule's last event, or the first failure.
func (s *simulation) run() {
	ctx, cancel := context.WithCancel(context.Background())
	s.start(ctx, s.checker.run)
	if !s.config.PollOnly {
		r := newReceiver(s.waits, s.config)
		r.probe, r.holder, r.ready = s.server.sendProbe, s.server.notifyHolder, func() {}
		r.random = s.within
		r.pause = s.turns.pause
		r.config.Trace = s.receiverTrace()
		s.checker.makeRoom = r.giveBack
		s.start(ctx, func(ctx context.Context) { s.server.listen(ctx, r) })
		s.start(ctx, r.watch)
	}
	s.after(0, "", s.act)
	for s.failure == "" && !s.over() {
		s.step()
	}
	cancel()
	s.deciding = true
	s.waits.close(pgbarrier.ErrClosed, nil)
	s.deciding = false
	s.join()
	if s.failure == "" {
		s.sweep()
		s.leftBehind()
	}
}

func (s *simulation) over() bool {
	return s.stopped || s.finishing && len(s.live) == 0 && len(s.questions) == 0 && len(s.open) == 0
}

// start begins a loop of the listener's.
func (s *simulation) start(ctx context.Context, loop func(context.Context)) {
	s.tasks.Go(func() {
		s.turns.yield()
		loop(ctx)
	})
	synctest.Wait()
}

// step judges what was done last, and makes the next thing happen: somebody's turn, or if nobody may go on,
// an event, or if none is due, the passing of time.
func (s *simulation) step() {
	s.steps++
	s.hear()
	s.takeCalls()
	s.sweep()
	if s.failure != "" || s.turns.take(s.rng) {
		return
	}
	s.judgeDelays() // whoever could do something about them has had a turn
	if len(s.events) == 0 || s.events[0].at.After(time.Now()) {
		next := time.Now().Add(time.Minute)
		if len(s.events) > 0 {
			next = s.events[0].at
		}
		time.Sleep(time.Until(s.turns.nextAt(next)))
		return
	}
	e := heap.Pop(&s.events).(simEvent)
	if e.name != "" {
		s.log(e.name)
	}
	s.deciding = true
	e.do()
	s.deciding = false
	s.decide()
	synctest.Wait() // for the goroutines that wait, which it may have canceled
}

// takeCalls takes what the goroutine whose turn it was has asked for.
func (s *simulation) takeCalls() {
	calls := s.server.calls
	s.server.calls = nil
	for _, c := range calls {
		s.log(c.kind.String()+", check, tokens", c.check, uint64(len(c.tokens)))
		s.called(c)
		s.server.take(c)
	}
}

// join lets everybody go on until all goroutines of the listener have returned.
func (s *simulation) join() {
	s.joining = true
	for range 1000 {
		if !s.turns.take(s.rng) {
			s.tasks.Wait()
			synctest.Wait()
			return
		}
	}
	panic("the listener does not return")
}
