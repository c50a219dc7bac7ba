package guardkafka

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// What is pending holds up its partition, in which the order is kept, and no other. There is one worker.
func TestAPendingRecordHoldsItsPartitionAndNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	held, lost := guardtest.NewToken(), guardtest.NewToken()
	r.send(0, held, "first", "second")
	r.send(0, lost, "dropped")
	r.send(0, pgbarrier.Token{}, "third")
	r.send(1, pgbarrier.Token{}, texts("free", 30)...)
	r.work("", Config{Workers: 1})
	r.untilCommitted(1, 30)
	r.untilWaiting(3)
	r.ran(texts("free", 30)...)
	r.untilCommitted(0, 0)
	r.barriers.Abort(lost)
	r.barriers.Commit(held)
	r.untilCommitted(0, 5-1)
	r.ran(append(texts("free", 30), "first", "second", "third")...)
}

// What has been decided behind a record that is held runs after it, and not sooner.
func TestTheOrderIsKeptThoughTheSecondCommitsFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first, second := guardtest.NewToken(), guardtest.NewToken()
	r.send(0, first, "first")
	r.send(0, second, "second")
	r.work("", Config{})
	r.untilWaiting(2)
	r.barriers.Commit(second)
	r.untilWaiting(1)
	r.barriers.Commit(first)
	r.untilCommitted(0, 2)
	r.ran("first", "second")
}

// fetches counts the records of partition 0 that a client has fetched.
type fetches struct{ n atomic.Int64 }

func (f *fetches) OnFetchRecordBuffered(r *kgo.Record) {
	if r.Partition == 0 {
		f.n.Add(1)
	}
}

// A partition that is held is paused when more than Config.Ahead records wait, and goes on behind them.
func TestAheadBoundsWhatIsHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := guardtest.NewToken()
	early, late := texts("early", 20), texts("late", 300)
	r.send(0, token, early...)
	fetched := new(fetches)
	r.work("", Config{Ahead: 10}, kgo.WithHooks(fetched))
	r.untilWaiting(10)
	r.send(0, token, late...)
	r.send(1, pgbarrier.Token{}, "free")
	r.untilCommitted(1, 1)
	sleep(t.Context(), 3*fetchWait)
	r.untilWaiting(10)
	if n := fetched.n.Load(); n > 120 { // a fetch that was on its way may have brought some
		t.Errorf("%d records were fetched, 20 of them wait and Ahead is 10", n)
	}
	r.barriers.Commit(token)
	r.untilCommitted(0, 320)
	r.ran(slices.Concat([]string{"free"}, early, late)...)
}

// A handler's failures count, and what is tried again is asked about again: after a failover of the database the
// transaction may be lost.
func TestARecordWhoseHandlerFailsIsAskedAboutAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := guardtest.NewToken()
	r.barriers.Commit(token)
	r.handle = func(_ context.Context, text string) error {
		if text == "lost" {
			r.barriers.Abort(token)
			return errHandler
		}
		return nil
	}
	r.send(0, token, "lost")
	r.send(0, pgbarrier.Token{}, "next")
	r.work("", Config{})
	r.untilCommitted(0, 2)
	r.ran("lost", "next")
}

// Its process stops between two attempts, while the outcome is not known: the next one goes on.
func TestARecordThatIsTriedAgainOutlivesAStop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := guardtest.NewToken()
	r.barriers.Commit(token)
	hide := true
	r.handle = func(context.Context, string) error {
		if hide {
			hide = false
			r.barriers.Set(pgbarrier.Pending, token)
			return errHandler
		}
		return nil
	}
	r.send(0, token, "again")
	p := r.work("", Config{})
	r.untilRan("again")
	r.untilWaiting(1)
	r.end(p)
	r.untilCommitted(0, 0)
	r.barriers.Commit(token)
	r.work("", Config{})
	r.untilCommitted(0, 1)
	r.ran("again", "again")
}

// What a guard gives up goes to the topic of such records, and runs from there when its transaction commits after all.
func TestWhatIsGivenUpIsParked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := guardtest.NewToken()
	r.send(0, token, "given up")
	r.send(0, pgbarrier.Token{}, "next")
	r.workAs("", guard.Config{GiveUp: 1}, Config{Parked: "parked"})
	r.untilCommitted(0, 2)
	r.ran("next")
	parked := r.untilBuried("parked", 1)
	guardtest.Carries(t, Headers(parked[0]), token)
	r.barriers.Commit(token)
	r.work("", Config{}, consumeParked...)
	r.untilRan("given up")
	r.untilBuried("dead", 0)
}
