package integration_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// The producer is killed at any moment of its transaction: before COMMIT, in it, after it. Whether it
// committed only the row tells, and the wait says the same.
func TestTheWaitForAProducerKilledBeforeInOrAfterCommitEndsWithTheTruth(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE orders (token text)")
	listeners := listenersOfEveryKind(t, pool.Config().ConnString())
	killer := connect(t, pool)
	outcomes := map[bool]int{}
	unknown := 0
	// The moments are spread over twice as long as such a transaction takes here, which is found out.
	length := 2 * time.Millisecond
	for range 150 {
		producer := connect(t, pool)
		tx := begin(t, producer)
		token := create(t, tx)
		var subs []*listener.Subscription
		for _, l := range listeners {
			subs = append(subs, l.Subscribe(token))
		}
		var ending sync.WaitGroup
		var committed error
		ending.Go(func() {
			if _, committed = tx.Exec(t.Context(), "INSERT INTO orders VALUES ($1)", token); committed == nil {
				committed = tx.Commit(t.Context())
			}
		})
		time.Sleep(rand.N(length)) // the moment is what is tested
		execute(t, killer, "SELECT pg_terminate_backend($1)", producer.PgConn().PID())
		ending.Wait()
		for _, sub := range subs {
			select {
			case <-sub.Done():
			case <-time.After(patience):
				t.Fatal("the wait did not end")
			}
		}
		row := query[bool](t, pool, "SELECT EXISTS (SELECT FROM orders WHERE token = $1)", token)
		for _, sub := range subs {
			if row {
				wantErr(t, "the wait of a transaction that committed", sub.Err(), nil)
			} else {
				wantErr(t, "the wait of a transaction that aborted", sub.Err(), pgbarrier.ErrAborted)
			}
		}
		if committed == nil && !row {
			t.Fatal("COMMIT was answered, and the row is not there")
		}
		if committed != nil && row {
			unknown++
		}
		if outcomes[row]++; row {
			length = max(length*9/10, 100*time.Microsecond)
		} else {
			length = min(length*11/10, time.Second)
		}
	}
	t.Logf("%d committed, %d of them unknown to the producer; %d aborted", outcomes[true], unknown, outcomes[false])
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Error("all ended the same way: the moments were not spread over COMMIT")
	}
}
