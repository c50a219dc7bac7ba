package guardjetstream

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// patience is for what comes sooner or later.
const patience = 2 * time.Minute

// A rig is a stream of a real server, and a database whose outcomes the test decides.
type rig struct {
	testing.TB
	broker
	nc       *nats.Conn
	js       jetstream.JetStream
	stream   jetstream.Stream
	barriers guardtest.Waiter

	mu      sync.Mutex
	changed chan struct{}    // closed, and replaced, when something below has
	runs    map[string][]int // the numbers of the deliveries that were handled, by the message's text
	by      map[string]int   // how many calls each worker got
	errs    []error          // that Config.Error was told
	handle  func(ctx context.Context, text string) error
}

// newRig makes a stream, and a consumer that allows any number of messages to be held.
func newRig(t testing.TB, config jetstream.ConsumerConfig) *rig {
	t.Helper()
	r := &rig{TB: t, broker: startBroker(t), changed: make(chan struct{}), runs: map[string][]int{}, by: map[string]int{}}
	r.handle = func(context.Context, string) error { return nil }
	r.nc, r.js = r.connect(t)
	r.stream, _ = stream(t, r.js, "ORDERS", config)
	return r
}

// send sends messages of a transaction that may have ended, or of none.
func (r *rig) send(token pgbarrier.Token, texts ...string) {
	r.Helper()
	for _, text := range texts {
		m := nats.NewMsg("orders")
		m.Data = []byte(text)
		if !token.IsZero() {
			if err := guard.Add(m.Header, token); err != nil {
				r.Fatal(err)
			}
		}
		if _, err := Publish(r.Context(), r.js, m, ""); err != nil {
			r.Fatal(err)
		}
	}
}

// A process is a running Consume with a connection of its own.
type process struct {
	nc    *nats.Conn
	stop  context.CancelFunc
	ended chan struct{}
	err   error // when it has ended
}

// work starts a process.
func (r *rig) work(name string, config Config, wrap ...func(jetstream.Consumer) jetstream.Consumer) *process {
	r.Helper()
	g, err := guard.New(&r.barriers, guard.Config{})
	if err != nil {
		r.Fatal(err)
	}
	nc, js := r.connect(r)
	c, err := js.Consumer(r.Context(), "ORDERS", "workers")
	if err != nil {
		r.Fatal(err)
	}
	for _, w := range wrap {
		c = w(c)
	}
	config.Error = func(err error) { r.change(func() { r.errs = append(r.errs, err) }) }
	ctx, stop := context.WithCancel(context.Background())
	p := &process{nc: nc, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = Consume(ctx, c, g, config, func(ctx context.Context, m jetstream.Msg) error {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			text := string(m.Data())
			r.change(func() {
				r.runs[text] = append(r.runs[text], int(meta.NumDelivered))
				r.by[name]++
			})
			return r.handle(ctx, text)
		})
	}()
	r.Cleanup(func() {
		stop()
		<-p.ended
	})
	return p
}

// end stops a process, and returns what Consume did.
func (r *rig) end(p *process) error {
	r.Helper()
	p.stop()
	return r.ends(p)
}

func (r *rig) ends(p *process) error {
	r.Helper()
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
		r.Fatal("Consume does not return")
		return nil
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
		state := fmt.Sprintf("runs %v, by %v, errors %v", r.runs, r.by, r.errs)
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
	r.until(fmt.Sprintf("%v ran", texts), func() bool {
		for _, text := range texts {
			if len(r.runs[text]) == 0 {
				return false
			}
		}
		return true
	})
}

// untilOutstanding waits until the server has delivered so many messages that are not acknowledged.
func (r *rig) untilOutstanding(n int) {
	r.Helper()
	r.untilServer("outstanding", n, func(i *jetstream.ConsumerInfo) int { return i.NumAckPending })
}

// untilDelivered waits until the server has made so many deliveries, also of the same message.
func (r *rig) untilDelivered(n int) {
	r.Helper()
	r.untilServer("delivered", n, func(i *jetstream.ConsumerInfo) int { return int(i.Delivered.Consumer) })
}

func (r *rig) untilServer(what string, want int, of func(*jetstream.ConsumerInfo) int) {
	r.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		n := of(r.info())
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%d messages are %s, want %d", n, what, want)
		}
	}
}

func (r *rig) info() *jetstream.ConsumerInfo {
	r.Helper()
	c, err := r.js.Consumer(r.Context(), "ORDERS", "workers")
	if err != nil {
		r.Fatal(err)
	}
	return c.CachedInfo()
}

// ran checks that the messages were handled once each, and on which delivery, if that matters.
func (r *rig) ran(delivery int, texts ...string) {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, text := range texts {
		if runs := r.runs[text]; len(runs) != 1 || delivery > 0 && runs[0] != delivery {
			r.Errorf("%s was handled on its deliveries %v, want once", text, runs)
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
