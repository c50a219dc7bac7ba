package guardwatermill

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// patience is for what comes sooner or later.
const patience = 2 * time.Minute

// A trial is a router over gochannel, with a database whose outcomes the test decides.
type trial struct {
	*testing.T
	barriers guardtest.Waiter
	pubsub   *gochannel.GoChannel
	dead     *gochannel.GoChannel // has the topic "poison"; another one, because a router that closes closes its own
	router   *message.Router
	stop     func() // closes the router

	mu         sync.Mutex
	changed    chan struct{}      // closed, and replaced, when something below has
	deliveries []*message.Message // as the outermost middleware gets them
	runs       []string           // payloads that the handler got
	outputs    []string
	poisoned   []*message.Message
	complaints []string
	decisions  int
	handle     func(m *message.Message) error
}

const retries = 2

// rightOrder is the order that the documentation asks for.
func rightOrder(poison, guarded, retry message.HandlerMiddleware) []message.HandlerMiddleware {
	return []message.HandlerMiddleware{poison, guarded, retry}
}

// start starts a router whose handler, for the topic "orders", has the middlewares that order returns.
func start(t *testing.T, config guard.Config, order func(poison, guarded, retry message.HandlerMiddleware) []message.HandlerMiddleware) *trial {
	t.Helper()
	s := &trial{T: t, changed: make(chan struct{}), pubsub: gochannel.NewGoChannel(gochannel.Config{}, nil), dead: gochannel.NewGoChannel(gochannel.Config{}, nil)}
	s.handle = func(*message.Message) error { return nil }
	config.Observe = func(context.Context, guard.Decision) { s.change(func() { s.decisions++ }) }
	g, err := guard.New(&s.barriers, config)
	if err != nil {
		t.Fatal(err)
	}
	poison, err := middleware.PoisonQueue(s.dead, "poison")
	if err != nil {
		t.Fatal(err)
	}
	s.router = message.NewDefaultRouter(nil)
	s.router.AddMiddleware(s.count)
	s.router.AddMiddleware(order(poison, Middleware(g, Config{Logger: complaints{s: s}}), middleware.Retry{MaxRetries: retries}.Middleware)...)
	s.router.AddHandler("ship", "orders", s.pubsub, "shipped", s.pubsub, func(m *message.Message) ([]*message.Message, error) {
		var handle func(m *message.Message) error
		s.change(func() {
			s.runs = append(s.runs, string(m.Payload))
			handle = s.handle
		})
		if err := handle(m); err != nil {
			return nil, err
		}
		return message.Messages{message.NewMessage("", m.Payload)}, nil
	})
	var listeners sync.WaitGroup
	listeners.Go(s.listen(s.pubsub, "shipped", func(m *message.Message) { s.outputs = append(s.outputs, string(m.Payload)) }))
	listeners.Go(s.listen(s.dead, "poison", func(m *message.Message) { s.poisoned = append(s.poisoned, m) }))
	ended := make(chan error, 1)
	go func() { ended <- s.router.Run(context.Background()) }()
	<-s.router.Running()
	s.stop = sync.OnceFunc(func() {
		if err := s.router.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.stop()
		_ = s.pubsub.Close()
		_ = s.dead.Close()
		listeners.Wait()
	})
	return s
}

// count is the outermost middleware.
func (s *trial) count(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		s.change(func() { s.deliveries = append(s.deliveries, m) })
		return next(m)
	}
}

// listen notes what is published to a topic.
func (s *trial) listen(from message.Subscriber, topic string, note func(*message.Message)) func() {
	s.Helper()
	messages, err := from.Subscribe(context.Background(), topic)
	if err != nil {
		s.Fatal(err)
	}
	return func() {
		for m := range messages {
			s.change(func() { note(m) })
			m.Ack()
		}
	}
}

// complaints is the logger that the guard is given.
type complaints struct {
	watermill.NopLogger
	s *trial
}

func (c complaints) Error(what string, err error, _ watermill.LogFields) {
	c.s.change(func() { c.s.complaints = append(c.s.complaints, fmt.Sprint(what, ": ", err)) })
}

// send sends a message, with that for a barrier unless it is empty.
func (s *trial) send(payload, barrier string) {
	s.Helper()
	m := message.NewMessage(watermill.NewUUID(), []byte(payload))
	if barrier != "" {
		m.Metadata.Set(guard.Header, barrier)
	}
	if err := s.pubsub.Publish("orders", m); err != nil {
		s.Fatal(err)
	}
}

func (s *trial) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// until waits for something that the router does.
func (s *trial) until(what string, holds func() bool) {
	s.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		is, changed := holds(), s.changed
		state := fmt.Sprintf("%d deliveries, %d decisions, ran %q, output %q, %d poisoned, complaints %q",
			len(s.deliveries), s.decisions, s.runs, s.outputs, len(s.poisoned), s.complaints)
		s.mu.Unlock()
		if is {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			s.Fatalf("it did not come that %s: %s", what, state)
		}
	}
}

// fence returns when what was sent before has been looked at, and what it led to.
func (s *trial) fence() {
	s.Helper()
	for i := range 3 {
		payload := fmt.Sprint("fence ", i)
		s.send(payload, "")
		s.until("a message sent after it ran", func() bool { return len(s.outputs) > 0 && s.outputs[len(s.outputs)-1] == payload })
	}
}

// ran checks how often a message was delivered, ran, and led to output.
func (s *trial) ran(payload string, deliveries, runs, outputs int) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var d, r, o int
	for _, m := range s.deliveries {
		d += count(payload, string(m.Payload))
	}
	for _, ran := range s.runs {
		r += count(payload, ran)
	}
	for _, output := range s.outputs {
		o += count(payload, output)
	}
	if d != deliveries || r != runs || o != outputs {
		s.Errorf("%q was delivered %d times, ran %d times, and has led to %d outputs; want %d, %d, %d", payload, d, r, o, deliveries, runs, outputs)
	}
}

func count(want, payload string) int {
	if payload == want {
		return 1
	}
	return 0
}

// isPoisoned checks how many messages are poisoned, and what the guard has complained of.
func (s *trial) isPoisoned(messages, complaints int) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.poisoned) != messages || len(s.complaints) != complaints {
		s.Errorf("%d messages are poisoned, want %d; the guard complained of %q, want %d", len(s.poisoned), messages, s.complaints, complaints)
	}
}

// held sends a message whose transaction is open, and waits until it is held.
func (s *trial) held(payload string) pgbarrier.Token {
	s.Helper()
	token := guardtest.NewToken()
	s.send(payload, token.String())
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	if err := s.barriers.UntilWaiting(ctx, 1); err != nil {
		s.Fatal("the message is not waited for: ", err)
	}
	return token
}
