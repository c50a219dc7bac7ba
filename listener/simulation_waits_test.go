package listener

import (
	"context"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// A simWait is one wait: a subscription, or a call of Listener.Wait.
type simWait struct {
	number   uint64
	barriers []*simBarrier
	done     <-chan struct{}
	err      func() error // after done
	cancel   func()
	canceled bool
	begun    time.Time
}

func (s *simulation) wait() {
	n := 1
	if s.chance(0.2) {
		n += s.rng.IntN(3)
	}
	var barriers []*simBarrier
	for range n {
		switch p := s.rng.IntN(40); {
		case len(s.barriers) == 0:
			return
		case p == 0: // of another database, with an xid that may be running in this one
			xid := 1000 + s.rng.Uint64N(s.server.db.next-1000+1)
			barriers = append(barriers, s.known(&simBarrier{token: s.server.db.newToken(xid, simOrigin+1)}))
		case p == 1: // never created
			barriers = append(barriers, s.known(&simBarrier{token: s.server.db.newToken(s.server.db.next-1, simOrigin)}))
		default: // a recent one, mostly
			i := len(s.barriers) - 1 - min(s.rng.IntN(len(s.barriers)), s.rng.IntN(len(s.barriers)))
			barriers = append(barriers, s.barriers[i])
		}
	}
	s.subscribe(barriers)
}

func (s *simulation) subscribe(barriers []*simBarrier) {
	s.last++
	w := &simWait{number: s.last, barriers: barriers, begun: time.Now()}
	tokens := make([]pgbarrier.Token, len(barriers))
	for i, b := range barriers {
		tokens[i] = b.token
		// Another wait for b may have its outcome already and go on for other tokens: then b is new.
		if b.live++; b.live == 1 {
			b.since = w.begun
		}
		b.joined, b.asked, b.among = w.begun, false, b.among || len(barriers) > 1
	}
	s.live = append(s.live, w)
	s.log("wait; barriers, the first", w.number, uint64(len(barriers)), barriers[0].number)
	if s.chance(0.2) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		var err error
		w.done, w.err, w.cancel = done, func() error { return err }, cancel
		go func() {
			defer close(done)
			defer cancel()
			err = s.listener.Wait(ctx, tokens...)
		}()
		synctest.Wait()
		return
	}
	sub := s.listener.Subscribe(tokens...)
	w.done, w.err, w.cancel = sub.Done(), sub.Err, sub.Close
}
