package guardtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier/guard"
)

// tries is how often a case about time is played: a machine that is busy for a moment is not the adapter's fault,
// and an adapter that is slow is so every time.
const tries = 3

const (
	heldMessages, freeMessages, freeWorkers = 60, 200, 10

	// A worker that waits for the long transaction holds the free messages up for as long as it is open.
	minLong, maxLong = 8 * time.Second, 20 * time.Second
)

// The p95 of the free messages is at most 5 % of the long transaction's length. That is chosen by what the same
// messages take on this machine now, with nothing ahead of them.
func starvation(s *scene) {
	s.open(ample)
	s.consume(freeWorkers, func(c *guard.Config) { c.Budget = s.adapter.Config.Budget }) // 2 s by default
	for range tries {
		alone := s.p95(s.free(), nil)
		length := min(max(minLong, 60*alone), maxLong)
		limit := max(length/20, 3*alone)

		free := s.free()
		t := s.begin()
		committed := make(chan error, 1)
		var held []string
		beside := s.p95(free, func() {
			for range heldMessages {
				held = append(held, t.send(func(m *Message) { m.Key = "held" }))
			}
			time.AfterFunc(length, func() { committed <- t.Commit(s.ctx) })
		})
		if err := <-committed; err != nil {
			s.Fatal(err)
		}
		s.untilRan(1, held...)
		s.ran(1, held...)
		s.Logf("the p95 of %d messages is %v behind %d of a transaction of %v, and %v alone", freeMessages, beside, heldMessages, length, alone)
		if s.Failed() || beside <= limit {
			return
		}
	}
	s.Errorf("messages that could run waited for others, in each of %d tries", tries)
}

// free returns messages that can run, and have not been sent.
func (s *scene) free() []Message {
	s.Helper()
	messages := make([]Message, freeMessages)
	for i := range messages {
		t := s.begin()
		messages[i] = t.message(func(m *Message) { m.Key = "free" })
		t.commit()
	}
	return messages
}

// p95 sends messages behind what first sends, and returns the 95th percentile of the time until they have run.
func (s *scene) p95(messages []Message, first func()) time.Duration {
	s.Helper()
	if first != nil {
		first()
	}
	sent := make(map[string]time.Time, len(messages))
	ids := make([]string, len(messages))
	for i, m := range messages {
		ids[i] = m.ID
		sent[m.ID] = time.Now()
		s.publish(m)
	}
	s.untilRanWithin(s.adapter.patience()+2*maxLong, 1, ids...) // also if they wait for the long transaction
	return percentile(95, s.since(sent))
}

// since returns how long after these times the messages ran.
func (s *scene) since(times map[string]time.Time) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var took []time.Duration
	for id, from := range times {
		took = append(took, s.runs[id][0].Sub(from))
	}
	return took
}

func percentile(p int, of []time.Duration) time.Duration {
	slices.Sort(of)
	return of[(len(of)*p+99)/100-1]
}

// What was given back for 5 s runs within 200 ms of its COMMIT, or ten times what a message takes now that is sent
// after it.
func hastened(s *scene) {
	const messages, back = 10, 5 * time.Second
	s.open(ample)
	s.consume(4, func(c *guard.Config) { c.Delay = func(time.Duration) time.Duration { return back } })
	for range tries {
		alone := map[string]time.Time{}
		for range messages {
			id := s.committed()
			alone[id] = time.Now()
			s.untilRan(1, id)
		}
		var transactions []*transaction
		var ids []string
		for i := range messages {
			t := s.begin()
			transactions = append(transactions, t)
			ids = append(ids, t.send(func(m *Message) { m.Key = fmt.Sprint(i) }))
		}
		for _, t := range transactions {
			s.untilAsked(t)
		}
		time.Sleep(3 * budget)
		ended := map[string]time.Time{}
		for i, t := range transactions {
			t.commit()
			ended[ids[i]] = time.Now()
		}
		s.untilRan(1, ids...)
		s.ran(1, ids...)
		if !s.adapter.has(Hastening) {
			return
		}
		limit := max(200*time.Millisecond, 10*percentile(90, s.since(alone)))
		took := percentile(90, s.since(ended))
		s.Logf("nine of ten messages that were given back ran within %v of their COMMIT, %v is allowed", took, limit)
		if s.Failed() || took <= limit {
			return
		}
	}
	s.Errorf("what was given back ran late, in each of %d tries", tries)
}
