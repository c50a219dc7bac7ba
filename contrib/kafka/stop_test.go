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

// Processes come and go while records are sent.
func TestAStopLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := guardtest.NewToken()
	r.send(1, token, "held")
	var sent []string
	for i := range 4 {
		p := r.work("", Config{})
		for n := range 50 {
			text := fmt.Sprint("free ", i, " ", n)
			sent = append(sent, text)
			r.send(0, pgbarrier.Token{}, text)
			if n == 25 {
				p.stop() // the rest arrives while it stops
			}
		}
		r.end(p)
	}
	r.work("", Config{})
	r.untilCommitted(0, 200)
	r.barriers.Commit(token)
	r.untilCommitted(1, 1)
	r.ran(append(sent, "held")...)
}

// A handler that runs when its process stops may end, and is not told to; its record is committed, and what waits is not.
func TestAStopLetsHandlersEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free() // also when the test fails
	r.handle = func(ctx context.Context, text string) error {
		if text == "running" {
			<-release
		}
		return ctx.Err()
	}
	r.send(0, pgbarrier.Token{}, "running", "waiting")
	p := r.work("", Config{})
	r.untilRan("running")
	p.stop()
	sleep(t.Context(), 100*time.Millisecond)
	select {
	case <-p.ended:
		t.Error("Consume returned, and a handler runs")
	default:
	}
	free()
	r.end(p)
	r.untilCommitted(0, 1)
	r.ran("running")
	r.work("", Config{})
	r.untilCommitted(0, 2)
	r.ran("running", "waiting")
}

// A group that begins at the end of a topic has committed nothing while its first record is held.
func TestTheFirstRecordOfAGroupOutlivesAStop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	atEnd := kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd())
	r.send(0, pgbarrier.Token{}, "before the group")
	p := r.work("", Config{}, atEnd)
	r.untilMembers(1)
	token := guardtest.NewToken()
	for r.barriers.Waiting() == 0 { // what is sent before the group's first fetch is none of its
		r.send(0, token, "held")
		sleep(t.Context(), fetchWait)
	}
	r.end(p)
	r.work("", Config{}, atEnd)
	r.barriers.Commit(token)
	r.untilRan("held")
}

// The broker does not take a commit: it is sent again, and the handler does not run again.
func TestACommitThatFailsIsSentAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.work("", Config{})
	r.untilMembers(1)
	fault := r.cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.OffsetMetadataTooLarge, Count: 3})
	r.send(0, pgbarrier.Token{}, "once")
	if err := fault.Wait(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	r.untilCommitted(0, 1)
	r.end(p)
	r.ran("once")
	if len(r.errs) != 3 {
		t.Errorf("Report was told %v, want three errors", r.errs)
	}
}

// If the last commit fails as well, Consume says so.
func TestAStopSaysWhatIsNotCommitted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.work("", Config{})
	r.untilMembers(1)
	r.cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.OffsetMetadataTooLarge, Count: -1})
	r.send(0, pgbarrier.Token{}, "once")
	r.untilReported(1)
	p.stop()
	<-p.ended
	if p.err == nil {
		t.Error("Consume returned nil, and the offset is not committed")
	}
}

// The brokers are away while a process stops.
func TestAStopDoesNotWaitForBrokers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	wire := new(wire)
	p := r.work("", Config{}, kgo.Dialer(wire.dial))
	r.send(0, guardtest.NewToken(), "held")
	r.untilCommitted(0, 0)
	r.untilWaiting(1)
	wire.cut()
	r.end(p)
}
