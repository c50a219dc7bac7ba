package listener

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/pgbarrier/pgbarrier"
)

// Anybody can send any payload. Only the exact token ends the wait for it, nothing else is left
// behind, and what is not a token is counted and refused.
func FuzzHear(f *testing.F) {
	waited := pgbarrier.Token{ID: uuid.MustParse("01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b"), XID: 777, Origin: 1}
	f.Add(waited.String())
	f.Add(waited.String() + " ")
	f.Add("pgb1.01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b.778.00000001")
	f.Fuzz(func(t *testing.T, payload string) {
		s := newWaitSet(nil)
		listening(s, true)
		sub := subscribe(s, []pgbarrier.Token{waited})
		other := subscribe(s, []pgbarrier.Token{waited, {ID: waited.ID, XID: waited.XID, Origin: 2}})
		err := s.hear(payload)
		heard, parseErr := pgbarrier.ParseToken(payload)
		if (err == nil) != (parseErr == nil) || err != nil && !errors.Is(err, pgbarrier.ErrInvalidToken) {
			t.Fatalf("%q: %v, ParseToken: %v", payload, err, parseErr)
		}
		if ended(sub) != (payload == waited.String()) {
			t.Fatalf("%q: ended %v, %v", payload, ended(sub), sub.Err())
		}
		if ended(other) {
			t.Fatalf("%q ended a wait for two", payload)
		}
		if s.stats.Announcements+s.stats.Malformed != 1 || (s.stats.Malformed == 1) != (err != nil) {
			t.Fatalf("%q: counted %+v", payload, s.stats)
		}
		// It is remembered for exactly the waits that its token answers.
		if err == nil {
			if again := subscribe(s, []pgbarrier.Token{heard}); !ended(again) || again.Err() != nil {
				t.Fatalf("%q is not remembered", payload)
			}
		}
		if len(s.announced) > 1 {
			t.Fatalf("%q: %d are remembered", payload, len(s.announced))
		}
		sub.Close()
		other.Close()
		assertEmpty(t, s)
	})
}

// Whatever a stream of payloads, repeated and mixed with waits that begin and end, the set keeps count.
func FuzzHearMany(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5})
	f.Add([]byte{0, 0, 8, 8, 16, 1, 9, 17, 2})
	f.Fuzz(func(t *testing.T, steps []byte) {
		s := newWaitSet(nil)
		listening(s, true)
		var subs []*Subscription
		announced := make(map[pgbarrier.Token]bool)
		for i, step := range steps {
			tok := pgbarrier.Token{XID: uint64(step>>3%4) + 1, Origin: 1}
			tok.ID = uuid.MustParse("01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b")
			tok.ID[15] = step >> 5
			switch step % 6 {
			case 0, 1:
				sub := subscribe(s, []pgbarrier.Token{tok})
				if ended(sub) != announced[tok] {
					t.Fatalf("step %d: ended %v, announced %v", i, ended(sub), announced[tok])
				}
				subs = append(subs, sub)
			case 2:
				if err := s.hear(tok.String()); err != nil {
					t.Fatal(err)
				}
				announced[tok] = true
			case 3:
				if s.hear(tok.String()[:min(int(step), 50)]) == nil {
					t.Fatalf("step %d: heard a part of a token", i)
				}
			case 4:
				s.toCheck(uint64(i+1), int(step>>6))
			case 5:
				if len(subs) > 0 {
					subs[int(step)%len(subs)].Close()
				}
			}
			open := 0
			for _, sub := range subs {
				if !ended(sub) {
					open++
				}
			}
			if s.stats.Waiting != open || len(s.pending) > open || (open > 0) != (len(s.pending) > 0) {
				t.Fatalf("step %d: %d waits open, %d counted, %d pending", i, open, s.stats.Waiting, len(s.pending))
			}
		}
		for _, sub := range subs {
			sub.Close()
		}
		assertEmpty(t, s)
	})
}
