package relaynats

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// A fakeNATS routes messages between processes as NATS core does, and loses, doubles and delays them if it is told to.
// It is for fake time: whatever it does it does in the test's bubble.
type fakeNATS struct {
	mu        sync.Mutex
	random    *rand.Rand
	processes map[*process]struct{}
	down      bool
	drop      float64 // share of messages that are lost
	double    float64 // share that come twice, the second time up to a second later
	delay     time.Duration
	delivered func(subject string) bool // unless nil, reports whether a message is delivered
	sent      int
}

func newFakeNATS(seed uint64) *fakeNATS {
	return &fakeNATS{random: rand.New(rand.NewPCG(seed, 0)), processes: make(map[*process]struct{})}
}

// A process is a bus.
type process struct {
	nats *fakeNATS

	// Guarded by nats.mu.
	subs    map[*fakeSub]struct{}
	watches map[*func(bool)]struct{}
	dead    bool          // nothing leaves it, and nothing is subscribed
	hung    chan struct{} // unless nil, it handles no message, and what it sends is lost, before this is closed
	late    time.Duration // what is sent to it is that late
}

type fakeSub struct {
	subject string
	f       func(message)
	queue   chan parcel
	closed  chan struct{}
	ended   chan struct{}
}

type parcel struct {
	m  message
	at time.Time
}

func (n *fakeNATS) process() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := &process{nats: n, subs: make(map[*fakeSub]struct{}), watches: make(map[*func(bool)]struct{})}
	n.processes[p] = struct{}{}
	return p
}

func (p *process) publish(subject, reply string, data []byte) error {
	n := p.nats
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.dead || n.down {
		return errDisconnected
	}
	n.sent++
	if p.hung != nil || n.random.Float64() < n.drop {
		return nil
	}
	m := message{subject: subject, reply: reply, data: append([]byte(nil), data...)}
	if !n.deliver(m) && reply != "" {
		n.deliver(message{subject: reply, nobody: true})
	}
	return nil
}

// deliver reports whether somebody has subscribed.
func (n *fakeNATS) deliver(m message) (heard bool) {
	for p := range n.processes {
		if p.dead {
			continue
		}
		for s := range p.subs {
			prefix, all := strings.CutSuffix(s.subject, ">")
			if s.subject != m.subject && !(all && strings.HasPrefix(m.subject, prefix)) {
				continue
			}
			heard = true
			if n.delivered != nil && !n.delivered(m.subject) {
				continue
			}
			late := p.late
			if n.delay > 0 {
				late += rand.N(n.delay)
			}
			s.queue <- parcel{m, time.Now().Add(late)}
			if n.random.Float64() < n.double {
				m, s := m, s
				time.AfterFunc(late+rand.N(time.Second), func() {
					select {
					case s.queue <- parcel{m, time.Now()}:
					case <-s.closed:
					}
				})
			}
		}
	}
	return heard
}

func (p *process) subscribe(subject string, f func(message)) (stop func(), err error) {
	s := &fakeSub{subject, f, make(chan parcel, 1<<16), make(chan struct{}), make(chan struct{})}
	p.nats.mu.Lock()
	p.subs[s] = struct{}{}
	p.nats.mu.Unlock()
	go p.run(s)
	return sync.OnceFunc(func() {
		p.nats.mu.Lock()
		delete(p.subs, s)
		p.nats.mu.Unlock()
		close(s.closed)
		<-s.ended
	}), nil
}

func (p *process) run(s *fakeSub) {
	defer close(s.ended)
	for {
		select {
		case parcel := <-s.queue:
			select {
			case <-time.After(time.Until(parcel.at)):
			case <-s.closed:
				return
			}
			p.nats.mu.Lock()
			hung := p.hung
			p.nats.mu.Unlock()
			if hung != nil {
				select {
				case <-hung:
				case <-s.closed:
					return
				}
			}
			s.f(parcel.m)
		case <-s.closed:
			return
		}
	}
}

func (p *process) maxPayload() int { return 1 << 20 }
func (p *process) flush()          {}
func (p *process) lastError() error {
	p.nats.mu.Lock()
	defer p.nats.mu.Unlock()
	if p.dead {
		return errors.New("dead")
	}
	return nil
}

func (p *process) watch(f func(bool)) (stop func()) {
	p.nats.mu.Lock()
	defer p.nats.mu.Unlock()
	p.watches[&f] = struct{}{}
	return func() {
		p.nats.mu.Lock()
		defer p.nats.mu.Unlock()
		delete(p.watches, &f)
	}
}

// kill ends a process as kill -9 does: for the others it is gone.
func (p *process) kill() {
	p.nats.mu.Lock()
	defer p.nats.mu.Unlock()
	p.dead = true
}

// hang stops a process, and returns what lets it go on.
func (p *process) hang() (goOn func()) {
	p.nats.mu.Lock()
	defer p.nats.mu.Unlock()
	if p.hung != nil {
		return func() {}
	}
	hung := make(chan struct{})
	p.hung = hung
	return sync.OnceFunc(func() {
		p.nats.mu.Lock()
		defer p.nats.mu.Unlock()
		p.hung = nil
		close(hung)
	})
}

// restart takes NATS away for a while. Whatever is on its way is lost.
func (n *fakeNATS) restart(outage time.Duration) {
	n.mu.Lock()
	n.down = true
	for p := range n.processes {
		for s := range p.subs {
			for len(s.queue) > 0 {
				<-s.queue
			}
		}
	}
	n.mu.Unlock()
	time.Sleep(outage)
	n.mu.Lock()
	n.down = false
	var watches []func(bool)
	for p := range n.processes {
		for f := range p.watches {
			watches = append(watches, *f)
		}
	}
	n.mu.Unlock()
	for _, f := range watches {
		f(false)
	}
}

func (n *fakeNATS) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}
