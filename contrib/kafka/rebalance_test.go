package guardkafka

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// protocols are the ways in which a group gives its partitions.
var protocols = map[string][]kgo.Opt{
	"cooperative": nil, // the client's default
	"eager":       {kgo.Balancers(kgo.RangeBalancer())},
	"server side": {kgo.Balancers(kgo.RangeBalancer()), kgo.ServerSideBalancer()},
}

// Another process gets one of the partitions while both are held: what was held there is the other's, and runs once.
func TestWhatIsHeldMovesWithItsPartition(t *testing.T) {
	t.Parallel()
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			tokens := []pgbarrier.Token{guardtest.NewToken(), guardtest.NewToken()}
			for partition, token := range tokens {
				r.send(int32(partition), pgbarrier.Token{}, fmt.Sprint("before ", partition))
				r.send(int32(partition), token, texts(fmt.Sprint("held ", partition), 5)...)
			}
			r.work("one", Config{Ahead: 3}, opts...) // both are paused
			r.untilWaiting(6)
			r.work("two", Config{Ahead: 3}, opts...)
			r.untilMembers(2)
			r.untilWaiting(6)
			r.barriers.Commit(tokens...)
			r.untilCommitted(0, 6)
			r.untilCommitted(1, 6)
			// Behind what was paused, too: a pause does not outlive the partition's stay.
			r.send(0, pgbarrier.Token{}, "after 0")
			r.send(1, pgbarrier.Token{}, "after 1")
			r.untilCommitted(0, 7)
			r.untilCommitted(1, 7)
			if len(r.runs) != 14 {
				t.Errorf("%d records were handled, want 14: %q", len(r.runs), r.runs)
			}
			if r.by["held 0 0"] == r.by["held 1 0"] {
				t.Errorf("both partitions were handled by process %q", r.by["held 0 0"])
			}
		})
	}
}

// While a handler runs, its partition is not given away: nobody else handles the partition's records at the same time,
// and what the handler has done is committed before the next owner begins.
func TestAPartitionIsNotGivenAwayUnderAHandler(t *testing.T) {
	t.Parallel()
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			release := make(chan struct{})
			free := sync.OnceFunc(func() { close(release) })
			defer free() // also when the test fails
			r.handle = func(_ context.Context, text string) error {
				if text == "running 0" || text == "running 1" {
					<-release
				}
				return nil
			}
			for partition := range int32(2) {
				r.send(partition, pgbarrier.Token{}, fmt.Sprint("running ", partition), fmt.Sprint("behind ", partition))
			}
			r.work("one", Config{}, opts...)
			r.untilRan("running 0", "running 1")
			r.work("two", Config{}, opts...)
			r.untilGroup("the other process is there", func(g *kfake.GroupInfo) bool { return g != nil && len(g.Members) == 2 })
			sleep(t.Context(), time.Second) // ten heartbeats
			r.mu.Lock()
			if len(r.runs) != 2 {
				t.Errorf("%q were handled while two handlers run", r.runs)
			}
			r.mu.Unlock()
			free()
			r.untilCommitted(0, 2)
			r.untilCommitted(1, 2)
			r.untilMembers(2)
			if len(r.runs) != 4 {
				t.Errorf("%q were handled, want four", r.runs)
			}
		})
	}
}

// A handler that goes on for longer than Config.Grace is told.
func TestGraceEndsTheContextOfHandlers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := make(chan struct{}, 1)
	first <- struct{}{}
	r.handle = func(ctx context.Context, _ string) error {
		select {
		case <-first:
			<-ctx.Done()
			return ctx.Err()
		default:
			return nil
		}
	}
	p := r.work("", Config{Grace: time.Millisecond, Attempts: 1})
	r.send(0, pgbarrier.Token{}, "long")
	r.untilRan("long")
	r.end(p)
	r.work("", Config{})
	r.untilCommitted(0, 1)
	r.ran("long", "long")
	r.untilBuried("dead", 0)
}

// The group has given up on a process, which did not know: its handler is told at once, and what it has not done with
// comes again.
func TestAHandlerIsToldThatItsPartitionIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := make(chan struct{})
	first := true
	r.handle = func(ctx context.Context, _ string) error {
		if first {
			first = false
			<-ctx.Done()
			close(told)
			return ctx.Err()
		}
		return nil
	}
	token := guardtest.NewToken()
	r.send(0, pgbarrier.Token{}, "running")
	r.send(1, token, "held")
	r.work("", Config{Grace: time.Hour})
	r.untilRan("running")
	r.untilWaiting(1)
	r.cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID})
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("the handler is not told")
	}
	r.barriers.Commit(token)
	r.untilCommitted(0, 1)
	r.untilCommitted(1, 1)
	r.until("both ran", func() bool { return len(r.runs) == 3 })
}
