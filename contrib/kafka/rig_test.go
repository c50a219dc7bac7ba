package guardkafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// patience is for what comes sooner or later.
const patience = 2 * time.Minute

// A rig is a broker with the topics orders (2 partitions), dead and parked, and a database whose outcomes the test decides.
type rig struct {
	testing.TB
	*broker
	producer *kgo.Client
	barriers guardtest.Waiter

	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, when something below has
	runs    []string      // the records that were handled, in order
	by      map[string]string
	errs    []error // that Config.Report was told
	handle  func(ctx context.Context, text string) error
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{TB: t, broker: startBroker(t), changed: make(chan struct{}), by: map[string]string{}}
	r.handle = func(context.Context, string) error { return nil }
	for topic, partitions := range map[string]int32{"orders": 2, "dead": 1, "parked": 1} {
		if err := r.cluster().CreateTopic(topic, partitions, nil); err != nil {
			t.Fatal(err)
		}
	}
	r.producer = r.broker.producer(t)
	return r
}

// send produces records of a transaction that may have ended, or of none.
func (r *rig) send(partition int32, token pgbarrier.Token, texts ...string) {
	r.Helper()
	for _, text := range texts {
		record := &kgo.Record{Topic: "orders", Partition: partition, Value: []byte(text)}
		if !token.IsZero() {
			if err := guard.Add(Headers(record), token); err != nil {
				r.Fatal(err)
			}
		}
		if err := Produce(r.Context(), r.producer, record); err != nil {
			r.Fatal(err)
		}
	}
}

// A process is a running Consume.
type process struct {
	stop  context.CancelFunc
	ended chan struct{}
	err   error // when it has ended
}

// work starts a process.
func (r *rig) work(name string, config Config, opts ...kgo.Opt) *process {
	r.Helper()
	return r.workAs(name, guard.Config{}, config, opts...)
}

func (r *rig) workAs(name string, of guard.Config, config Config, opts ...kgo.Opt) *process {
	r.Helper()
	g, err := guard.New(&r.barriers, of)
	if err != nil {
		r.Fatal(err)
	}
	if config.Dead == "" {
		config.Dead = "dead"
	}
	if config.Retry == nil {
		config.Retry = func(int, error) time.Duration { return 10 * time.Millisecond }
	}
	config.Report = func(err error) { r.change(func() { r.errs = append(r.errs, err) }) }
	opts = append(append(r.options(), kgo.ConsumerGroup("shipping"), kgo.ConsumeTopics("orders")), opts...)
	ctx, stop := context.WithCancel(context.Background())
	p := &process{stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = Consume(ctx, g, config, func(ctx context.Context, record *kgo.Record) error {
			text := string(record.Value)
			r.change(func() {
				r.runs = append(r.runs, text)
				r.by[text] = name
			})
			return r.handle(ctx, text)
		}, opts...)
	}()
	r.Cleanup(func() {
		stop()
		<-p.ended
	})
	return p
}

// end stops a process.
func (r *rig) end(p *process) {
	r.Helper()
	p.stop()
	select {
	case <-p.ended:
		if p.err != nil {
			r.Errorf("Consume returned %v", p.err)
		}
	case <-time.After(patience):
		r.Fatal("Consume does not return")
	}
}

func (r *rig) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// until waits for something that the processes do.
func (r *rig) until(what string, holds func() bool) {
	r.Helper()
	timeout := time.After(patience)
	for {
		r.mu.Lock()
		is, changed := holds(), r.changed
		state := fmt.Sprintf("runs %q, by %v, errors %v", r.runs, r.by, r.errs)
		r.mu.Unlock()
		if is {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			r.Fatalf("it did not come that %s: %s", what, state)
		}
	}
}

func (r *rig) untilRan(texts ...string) {
	r.Helper()
	r.until(fmt.Sprintf("%q ran", texts), func() bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !slices.Contains(r.runs, text) })
	})
}

// untilReported waits until Config.Report has been told so many errors more.
func (r *rig) untilReported(more int) {
	r.Helper()
	r.mu.Lock()
	were := len(r.errs)
	r.mu.Unlock()
	r.until("errors were reported", func() bool { return len(r.errs) >= were+more })
}

// ran checks that these were all that was handled, in that order.
func (r *rig) ran(texts ...string) {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.runs, texts) {
		r.Errorf("%q were handled, want %q", r.runs, texts)
	}
}

// untilWaiting waits until the guard waits for so many records.
func (r *rig) untilWaiting(n int) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if err := r.barriers.UntilWaiting(ctx, n); err != nil {
		r.Fatalf("the guard waits for %d records, want %d", r.barriers.Waiting(), n)
	}
}

// untilCommitted waits until the group's offset in a partition of orders is n: so many records are done with.
func (r *rig) untilCommitted(partition int32, n int64) {
	r.Helper()
	r.untilGroup(fmt.Sprintf("the offset in partition %d is %d", partition, n), func(g *kfake.GroupInfo) bool {
		return r.offset(g, partition) == n
	})
}

// untilMembers waits until the group has so many processes, and each its partitions.
func (r *rig) untilMembers(n int) {
	r.Helper()
	r.untilGroup(fmt.Sprintf("the group has %d members", n), func(g *kfake.GroupInfo) bool {
		if g == nil || len(g.Members) != n || g.NumAssigned() != 2 || g.State != "Stable" {
			return false
		}
		return !slices.ContainsFunc(g.Members, func(m kfake.GroupMember) bool { return n <= 2 && m.NumAssigned() == 0 })
	})
}

func (r *rig) untilGroup(what string, holds func(*kfake.GroupInfo) bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if g, err := r.cluster().WaitGroupInfo(ctx, "shipping", holds); err != nil {
		r.Fatalf("it did not come that %s: %+v", what, g)
	}
}

// offset returns where the group begins with a partition of orders, or -1.
func (r *rig) offset(g *kfake.GroupInfo, partition int32) int64 {
	if g != nil {
		if commit, ok := g.Commits["orders"][partition]; ok {
			return commit.Offset
		}
	}
	return -1
}

// untilBuried waits until a topic has so many records, and returns them.
func (r *rig) untilBuried(topic string, n int) []*kgo.Record {
	r.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		records, err := r.read(r.Context(), topic)
		if err != nil {
			r.Fatal(err)
		}
		if len(records) == n {
			return records
		}
		if time.Now().After(deadline) {
			r.Fatalf("%d records are in %s, want %d", len(records), topic, n)
		}
	}
}

// texts returns n different ones.
func texts(kind string, n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprint(kind, " ", i))
	}
	return texts
}
