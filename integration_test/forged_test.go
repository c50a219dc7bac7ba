package integration_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// Any role can send on the channel. This one has no grant at all, hears every announcement, and sends
// them again, altered, and nonsense, as fast as it can.
func TestNotificationsForgedAtAHighRateByAnUnprivilegedRoleEndNoWaitWronglyAndLoseNone(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	intruder := as(t, pool, newRole(t, pool))
	began := time.Now()
	l := run(t, pool, listener.Config{MinDelay: 5 * time.Millisecond})

	stop := make(chan struct{})
	var attack sync.WaitGroup
	var sent atomic.Int64
	for range 3 {
		spy, voice := listen(t, intruder), connect(t, intruder)
		attack.Go(func() { forge(t, spy, voice, stop, &sent) })
	}
	quiet := pending(t, l, create(t, begin(t, pool))) // nobody but the intruder gives reason to check for it
	var waits sync.WaitGroup
	for p := range 4 {
		waits.Go(func() {
			for i := range 60 {
				tx := begin(t, pool)
				token := create(t, tx)
				sub := l.Subscribe(token)
				if (p+i)%2 == 0 {
					commit(t, tx)
					wantEnd(t, sub, nil)
				} else {
					rollback(t, tx)
					wantEnd(t, sub, pgbarrier.ErrAborted)
				}
			}
		})
	}
	waits.Wait()
	eventually(t, "enough was forged", func() bool { return sent.Load() > 3000 })
	took := time.Since(began)
	close(stop)
	attack.Wait()
	if err := quiet.Err(); err != listener.ErrPending {
		t.Errorf("the wait of a running transaction ended with %v", err)
	}
	checks := l.Stats().Checks
	if most := uint64(took/(5*time.Millisecond)) + 2; checks > most {
		t.Errorf("%d checks in %v, want at most one every 5 ms", checks, took)
	}
	t.Logf("%d notifications forged in %v, %d checks", sent.Load(), took, checks)
}

// forge sends until it is stopped: nonsense, cut and altered tokens, and what it hears, many times.
func forge(t *testing.T, spy, voice *pgx.Conn, stop <-chan struct{}, sent *atomic.Int64) {
	const all = `SELECT pg_notify('pgbarrier', payload) FROM unnest($1::text[]) payload`
	heard := pgbarrier.Token{ID: [16]byte{6: 0x70, 8: 0x80}, XID: 3}
	for !stopped(stop) {
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			n, err := spy.WaitForNotification(ctx)
			cancel()
			if err != nil {
				break
			}
			if token, err := pgbarrier.ParseToken(n.Payload); err == nil {
				heard = token
			}
		}
		next, other := heard, heard
		next.XID++
		next.ID[15]++
		other.Origin++
		payloads := []string{"", "x", heard.String()[:40], heard.String() + ".", heard.String(), heard.String(), next.String(), other.String()}
		if _, err := voice.Exec(t.Context(), all, payloads); err != nil {
			t.Errorf("an unprivileged role cannot notify: %v", err)
			return
		}
		sent.Add(int64(len(payloads)))
	}
}

// Whoever can connect can hold the advisory lock of announcing, forever. Commits do not wait for it, and neither
// do waits.
func TestAnUnprivilegedRoleThatHoldsTheLockHoldsNoCommitUp(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	holder := connect(t, as(t, pool, newRole(t, pool)))
	execute(t, holder, "SELECT pg_advisory_lock("+announcing+")")
	ctx, cancel := context.WithTimeout(t.Context(), patience) // lock_timeout would end it, and the trigger swallows that
	defer cancel()
	before := l.Stats().Announcements
	for range 20 {
		tx := begin(t, pool)
		sub := l.Subscribe(create(t, tx))
		if err := tx.Commit(ctx); err != nil {
			t.Fatalf("the COMMIT waited: %v", err)
		}
		wantEnd(t, sub, nil)
		wait(t, l, pgbarrier.ErrAborted, aborted(t, pool))
	}
	if heard := l.Stats().Announcements - before; heard != 0 {
		t.Errorf("heard %d announcements though the lock is held: nothing was tested", heard)
	}
}
