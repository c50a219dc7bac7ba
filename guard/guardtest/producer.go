package guardtest

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// A transaction is a producer's.
type transaction struct {
	pgx.Tx
	s     *scene
	token pgbarrier.Token
}

// begin opens a transaction with a barrier. It is rolled back at the end unless the case has ended it.
func (s *scene) begin() *transaction {
	s.Helper()
	tx, err := s.db.Pool.Begin(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.adapter.patience())
		defer cancel()
		_ = tx.Rollback(ctx)
	})
	return s.barrier(tx)
}

// barrier makes a barrier in a transaction or a savepoint.
func (s *scene) barrier(tx pgx.Tx) *transaction {
	s.Helper()
	t := &transaction{Tx: tx, s: s}
	if err := tx.QueryRow(s.ctx, "SELECT pgbarrier.create()").Scan(&t.token); err != nil {
		s.Fatal(err)
	}
	return t
}

// savepoint begins one, with a barrier of its own.
func (t *transaction) savepoint() *transaction {
	t.s.Helper()
	tx, err := t.Begin(t.s.ctx)
	if err != nil {
		t.s.Fatal(err)
	}
	return t.s.barrier(tx)
}

// send writes a row, and sends a message about it that carries the barrier. It returns the message's id.
func (t *transaction) send(change ...func(*Message)) string {
	t.s.Helper()
	m := t.message(change...)
	t.s.publish(m)
	return m.ID
}

// message writes the row.
func (t *transaction) message(change ...func(*Message)) Message {
	t.s.Helper()
	m := t.s.message(change...)
	if err := guard.Add(m.Header, t.token); err != nil {
		t.s.Fatal(err)
	}
	if _, err := t.Exec(t.s.ctx, "INSERT INTO "+t.s.table+" VALUES ($1)", m.ID); err != nil {
		t.s.Fatal(err)
	}
	t.s.change(func() { t.s.hasRow[m.ID] = true })
	return m
}

func (t *transaction) commit() {
	t.s.Helper()
	if err := t.Commit(t.s.ctx); err != nil {
		t.s.Fatal(err)
	}
}

func (t *transaction) rollback() {
	t.s.Helper()
	if err := t.Rollback(t.s.ctx); err != nil {
		t.s.Fatal(err)
	}
}

// message returns one without a barrier.
func (s *scene) message(change ...func(*Message)) Message {
	s.change(func() { s.sent++ })
	m := Message{ID: fmt.Sprintf("%s-%d", s.name, s.sent), Header: guard.Map{}, Key: "a"}
	for _, c := range change {
		c(&m)
	}
	return m
}

func (s *scene) publish(m Message) {
	s.Helper()
	if err := s.queue.Publish(s.ctx, m); err != nil {
		s.Fatal("publishing: ", err)
	}
}

// publishUntil tries again, for a broker that is being restarted.
func (s *scene) publishUntil(m Message) {
	s.Helper()
	deadline := time.Now().Add(s.adapter.patience())
	for {
		err := s.queue.Publish(s.ctx, m)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatal("publishing after the restart: ", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// committed sends a message of a transaction that has committed.
func (s *scene) committed(change ...func(*Message)) string {
	s.Helper()
	t := s.begin()
	id := t.send(change...)
	t.commit()
	return id
}

// fence returns when what was sent before has been looked at: when messages that were sent after it have run.
func (s *scene) fence() {
	s.Helper()
	for range 3 {
		s.untilRan(1, s.committed())
	}
}

// untilAsked waits until a guard has asked about the transaction.
func (s *scene) untilAsked(t *transaction) {
	s.Helper()
	s.until("the guard was asked about a message that was sent", func() bool { return s.asked[t.token] })
}

// untilDecided waits for a verdict about the transaction.
func (s *scene) untilDecided(t *transaction, verdict guard.Verdict) {
	s.Helper()
	s.until(fmt.Sprintf("the verdict about a message was %v", verdict), func() bool {
		for _, d := range s.verdicts[t.token] {
			if d.Verdict == verdict {
				return true
			}
		}
		return false
	})
}

// untilRan waits until each of the messages has run to the end so often.
func (s *scene) untilRan(times int, ids ...string) {
	s.Helper()
	s.untilRanWithin(s.adapter.patience(), times, ids...)
}

func (s *scene) untilRanWithin(limit time.Duration, times int, ids ...string) {
	s.Helper()
	s.untilWithin(limit, fmt.Sprintf("each of %d messages ran %d times", len(ids), times), func() bool {
		for _, id := range ids {
			if s.finished[id] < times {
				return false
			}
		}
		return true
	})
}

// ran checks that each of the messages was handled exactly so often, also after a while.
func (s *scene) ran(times int, ids ...string) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if n := len(s.runs[id]); n != times {
			s.Errorf("%s ran %d times, want %d", id, n, times)
		}
	}
}

// isDead waits until the messages are where rejected ones are kept, if there is such a place.
func (s *scene) isDead(ids ...string) {
	s.Helper()
	for deadline := time.Now().Add(s.adapter.patience()); s.queue.Dead != nil; time.Sleep(20 * time.Millisecond) {
		dead := s.dead()
		missing := ""
		for _, id := range ids {
			if !dead[id] {
				missing = id
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s was rejected and is not among the dead letters", missing)
		}
	}
}

// isNotDead checks that the messages are not there.
func (s *scene) isNotDead(ids ...string) {
	s.Helper()
	if s.queue.Dead == nil {
		return
	}
	dead := s.dead()
	for _, id := range ids {
		if dead[id] {
			s.Errorf("%s is among the dead letters", id)
		}
	}
}

func (s *scene) dead() map[string]bool {
	s.Helper()
	ids, err := s.queue.Dead(s.ctx)
	if err != nil {
		s.Fatal("asking for the dead letters: ", err)
	}
	dead := map[string]bool{}
	for _, id := range ids {
		dead[id] = true
	}
	return dead
}
