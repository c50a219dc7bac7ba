//go:build !race

// The runtime of Go 1.26 has crashed here, in testing/synctest under the race detector. The tests against a real
// server run with it.

package relaynats

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

var simSeed = flag.Uint64("sim.seed", 0, "the only seed to simulate; 0: several")
var simSeeds = flag.Int("sim.seeds", 12, "how many seeds to simulate")

// TestSimulation has clients wait through relays while everything between them goes wrong, and a judge compare each end
// of a wait with what was true in the database. The seed decides what happens, not the order of what happens at once.
func TestSimulation(t *testing.T) {
	seeds := []uint64{*simSeed}
	if *simSeed == 0 {
		seeds = nil
		for range *simSeeds {
			seeds = append(seeds, rand.Uint64())
		}
	}
	total := make(map[string]int)
	for _, seed := range seeds {
		if !t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { simulate(t, seed, total) }) {
			t.Fatalf("again with -run TestSimulation -sim.seed %d", seed)
		}
	}
	t.Log(total)
	for _, fault := range simFaults {
		if *simSeed == 0 && total[fault.name] == 0 {
			t.Errorf("there was no %q", fault.name)
		}
	}
}

// A simulation is one schedule.
type simulation struct {
	*scene
	random *rand.Rand
	relays []*relayProcess
	ends   []func() // of faults that last
	counts map[string]int
	work   sync.WaitGroup

	mu    sync.Mutex
	truth map[pgbarrier.Token]*history
	waits int // that have not ended
}

// A history is what was true of one token: since when it was committed, and since when it was aborted. A crash makes
// the one the other.
type history struct{ committed, aborted time.Time }

const simLease = 10 * time.Second

func simulate(t *testing.T, seed uint64, total map[string]int) {
	synctest.Test(t, func(t *testing.T) {
		m := &simulation{scene: &scene{T: t, nats: newFakeNATS(seed), database: newDouble()},
			random: rand.New(rand.NewPCG(seed, 1)), counts: total, truth: make(map[pgbarrier.Token]*history)}
		m.server = ServerConfig{Lease: simLease}
		m.relays = []*relayProcess{m.relay(), m.relay()}
		var clients []*Client
		for range 4 {
			clients = append(clients, m.newClient())
		}
		for range 60 {
			for range m.random.IntN(30) {
				m.transaction(clients)
			}
			time.Sleep(time.Duration(m.random.IntN(1000)) * time.Millisecond)
			m.fault()
		}
		m.heal()
		m.work.Wait()
		m.settle(clients)
	})
}

// transaction begins one, which ends sooner or later, and waits for it.
func (m *simulation) transaction(clients []*Client) {
	tokens := make([]pgbarrier.Token, 1+m.random.IntN(2)*m.random.IntN(3))
	for i := range tokens {
		tokens[i] = token()
		m.mu.Lock()
		m.truth[tokens[i]] = &history{}
		m.mu.Unlock()
		m.later(20*time.Second, m.random.IntN(5) > 0, tokens[i])
	}
	for range 1 + m.random.IntN(2) {
		c := clients[m.random.IntN(len(clients))]
		switch m.random.IntN(5) {
		case 0:
			m.check(c, tokens)
		case 1:
			m.cancel(c, tokens)
		default:
			m.wait(c, tokens)
		}
	}
}

// later ends a token's transaction within the time.
func (m *simulation) later(most time.Duration, commit bool, of pgbarrier.Token) {
	d := time.Duration(m.random.Int64N(int64(most)))
	if m.random.IntN(3) == 0 {
		d = 0
	}
	crash := m.random.IntN(10) == 0 // takes the commit with it, a moment later
	m.work.Go(func() {
		time.Sleep(d)
		if !commit {
			m.end(of, pgbarrier.Aborted)
			return
		}
		m.end(of, pgbarrier.Committed)
		if crash {
			time.Sleep(d / 4)
			m.end(of, pgbarrier.Aborted)
		}
	})
}

func (m *simulation) end(of pgbarrier.Token, status pgbarrier.Status) {
	m.mu.Lock()
	h := m.truth[of]
	if status == pgbarrier.Committed {
		h.committed = time.Now()
	} else {
		h.aborted = time.Now()
	}
	m.mu.Unlock()
	m.database.Set(status, of)
}

func (m *simulation) wait(c *Client, tokens []pgbarrier.Token) {
	began := time.Now()
	var ends int
	m.mu.Lock()
	m.waits++
	m.mu.Unlock()
	c.WaitFunc(func(err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.waits--
		if ends++; ends > 1 {
			m.Errorf("a wait ended %d times", ends)
		}
		m.judge(began, tokens, err)
	}, tokens...)
}

func (m *simulation) check(c *Client, tokens []pgbarrier.Token) {
	m.work.Go(func() {
		began := time.Now()
		statuses, err := c.Check(m.Context(), tokens...)
		if err != nil {
			m.Error(err)
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, s := range statuses {
			if s != pgbarrier.Pending {
				m.judge(began, tokens[i:i+1], s.Err(tokens[i]))
			}
		}
	})
}

func (m *simulation) cancel(c *Client, tokens []pgbarrier.Token) {
	began := time.Now()
	cancelled := false
	stop := c.WaitFunc(func(err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if cancelled {
			m.Error("a cancelled wait ended")
		}
		m.judge(began, tokens, err)
	}, tokens...)
	d := time.Duration(m.random.IntN(3000)) * time.Millisecond
	m.work.Go(func() {
		time.Sleep(d)
		stop()
		m.mu.Lock()
		defer m.mu.Unlock()
		cancelled = true
	})
}

// judge compares an outcome with the truth: committed must have been true within the last lease. mu is held.
func (m *simulation) judge(began time.Time, tokens []pgbarrier.Token, err error) {
	now := time.Now()
	var since, until time.Time // when all were committed
	aborted := false
	for i, t := range tokens {
		h := m.truth[t]
		aborted = aborted || !h.aborted.IsZero()
		end := h.aborted
		if end.IsZero() {
			end = now
		}
		if h.committed.IsZero() {
			end = time.Time{}
		}
		if i == 0 || h.committed.After(since) {
			since = h.committed
		}
		if i == 0 || end.Before(until) {
			until = end
		}
	}
	switch {
	case err == nil:
		if until.Before(since) || until.IsZero() || now.Sub(until) > simLease {
			m.Errorf("wrong: committed after %v, and all were so from %v to %v before", now.Sub(began), now.Sub(since), now.Sub(until))
		}
	case errors.Is(err, pgbarrier.ErrAborted):
		if !aborted {
			m.Errorf("wrong: aborted, and none has")
		}
	default:
		m.Errorf("wrong: ended with %v", err)
	}
}

// settle waits for what has not ended, and looks at what is left.
func (m *simulation) settle(clients []*Client) {
	for limit := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		m.mu.Lock()
		left := m.waits
		m.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(limit) {
			m.Fatalf("lost: %d waits", left)
		}
	}
	time.Sleep(5 * time.Minute)
	for _, c := range clients {
		stats := c.Stats()
		m.counts["answers"] += int(stats.Answers)
		m.counts["sessions lost"] += int(stats.Lost)
		m.counts["disbelieved"] += int(stats.Disbelieved)
		m.counts["resubmitted"] += int(stats.Resubmitted)
		if stats.Waiting != 0 {
			m.Errorf("a client still waits: %+v", stats)
		}
	}
	for _, r := range m.relays {
		if s := r.relay.Stats(); s.Tokens != 0 || s.Sessions != 0 {
			m.Errorf("a relay still has %d tokens of %d sessions", s.Tokens, s.Sessions)
		}
	}
}

// simFaults are what goes wrong. A fault that lasts returns what ends it.
var simFaults = []struct {
	name string
	f    func(m *simulation) (end func())
}{
	{"relay killed", func(m *simulation) func() {
		r := m.take()
		r.kill()
		r.stop()
		m.relays = append(m.relays, m.relay())
		return nil
	}},
	{"relay drained", func(m *simulation) func() {
		r := m.take()
		r.relay.Drain()
		m.relays = append(m.relays, m.relay())
		m.work.Go(func() {
			<-r.ended
			r.stop()
		})
		return nil
	}},
	{"relay stopped at once", func(m *simulation) func() {
		r := m.take()
		r.stop()
		m.relays = append(m.relays, m.relay())
		return nil
	}},
	{"relay hung", func(m *simulation) func() { return m.any().hang() }},
	{"NATS restarted", func(m *simulation) func() {
		m.nats.restart(time.Duration(m.random.IntN(5000)) * time.Millisecond)
		return nil
	}},
	{"messages lost", func(m *simulation) func() {
		m.nats.set(func() { m.nats.drop = 0.03 })
		return func() { m.nats.set(func() { m.nats.drop = 0 }) }
	}},
	{"half of the messages lost", func(m *simulation) func() {
		m.nats.set(func() { m.nats.drop = 0.5 })
		return func() { m.nats.set(func() { m.nats.drop = 0 }) }
	}},
	{"messages doubled", func(m *simulation) func() {
		m.nats.set(func() { m.nats.double = 0.3 })
		return func() { m.nats.set(func() { m.nats.double = 0 }) }
	}},
	{"messages delayed", func(m *simulation) func() {
		m.nats.set(func() { m.nats.delay = 300 * time.Millisecond })
		return func() { m.nats.set(func() { m.nats.delay = 0 }) }
	}},
	{"messages delayed beyond the lease", func(m *simulation) func() {
		var late []*process
		m.nats.set(func() {
			for p := range m.nats.processes {
				if m.random.IntN(3) == 0 && !p.dead {
					p.late = 15 * time.Second
					late = append(late, p)
				}
			}
		})
		return func() {
			m.nats.set(func() {
				for _, p := range late {
					p.late = 0
				}
			})
		}
	}},
	{"database down", func(m *simulation) func() {
		m.database.fail(errors.New("down"))
		return func() { m.database.fail(nil) }
	}},
	{"nothing", func(m *simulation) func() { return nil }},
}

// fault begins one, and ends others perhaps.
func (m *simulation) fault() {
	fault := simFaults[m.random.IntN(len(simFaults))]
	m.counts[fault.name]++
	if end := fault.f(m); end != nil {
		m.ends = append(m.ends, end)
	}
	if len(m.ends) > 0 && m.random.IntN(3) > 0 {
		m.ends[0]()
		m.ends = m.ends[1:]
	}
}

func (m *simulation) heal() {
	for _, end := range m.ends {
		end()
	}
}

func (m *simulation) any() *relayProcess { return m.relays[m.random.IntN(len(m.relays))] }

// take returns a relay that is to go.
func (m *simulation) take() *relayProcess {
	i := m.random.IntN(len(m.relays))
	r := m.relays[i]
	m.relays = append(m.relays[:i:i], m.relays[i+1:]...)
	return r
}
