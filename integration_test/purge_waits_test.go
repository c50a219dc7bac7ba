package integration_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// The purge may take a barrier before its wait has asked for it. Then the wait does not know, and says
// so; it never takes the missing row for an abort, nor an abort for a commit.
func TestAPurgeThatRacesWaitsMakesNoneOfThemWrong(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	// Checks alone, because an announcement is not in a race with the purge.
	l := run(t, pool, listener.Config{PollOnly: true, MinDelay: 5 * time.Millisecond})
	stop := make(chan struct{})
	var background sync.WaitGroup
	background.Go(func() {
		for !stopped(stop) {
			if _, err := pgbarrier.Purge(t.Context(), pool, time.Microsecond); err != nil {
				t.Errorf("purge: %v", err)
				return
			}
		}
	})
	var nils, expired, aborts atomic.Int64
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for i := range 150 {
				commits := i%3 > 0
				tx := begin(t, pool)
				token := create(t, tx)
				var sub *listener.Subscription
				if i%2 == 0 {
					sub = l.Subscribe(token)
				}
				if commits {
					commit(t, tx)
				} else {
					rollback(t, tx)
				}
				if sub == nil {
					time.Sleep(rand.N(6 * time.Millisecond)) // the moment is what is tested
					sub = l.Subscribe(token)
				}
				select {
				case <-sub.Done():
				case <-time.After(patience):
					t.Error("the wait did not end")
					return
				}
				switch err := sub.Err(); {
				case commits && err == nil:
					nils.Add(1)
				case commits && errors.Is(err, pgbarrier.ErrExpired):
					expired.Add(1)
				case !commits && errors.Is(err, pgbarrier.ErrAborted):
					aborts.Add(1)
				default:
					t.Errorf("the transaction commits: %v, and its wait ended with %v", commits, err)
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	background.Wait()
	t.Logf("%d nil, %d expired, %d aborted", nils.Load(), expired.Load(), aborts.Load())
	if nils.Load() == 0 || expired.Load() == 0 {
		t.Error("one side always won: there was no race")
	}
}
