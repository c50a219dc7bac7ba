package conformance

import (
	"context"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	guardwatermill "github.com/pgbarrier/pgbarrier/contrib/watermill"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// closeTimeout is how long a router waits for its handlers.
const closeTimeout = time.Minute

// A process is a running router with one guarded handler.
type process struct {
	router *message.Router
	ended  chan error
}

// start starts a router on a topic. What the guard rejects is published to the topic's dead letters; what fails the
// broker delivers again.
func start(w guardtest.Worker, topic string, sub message.Subscriber, dead message.Publisher, log watermill.LoggerAdapter) (*process, error) {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTimeout}, log)
	if err != nil {
		return nil, err
	}
	poison, err := middleware.PoisonQueueWithFilter(dead, deadTopic(topic), guardwatermill.IsRejection)
	if err != nil {
		return nil, err
	}
	router.AddMiddleware(poison, guardwatermill.Middleware(w.Guard, guardwatermill.Config{Workers: w.Workers, Logger: log}))
	// The suite's longest transaction has 60 messages ahead of those for 10 workers.
	router.AddConsumerHandler("handle", topic, guardwatermill.Subscribers(sub, 8*w.Workers), func(m *message.Message) error {
		return w.Handle(m.Context(), string(m.Payload))
	})
	p := &process{router: router, ended: make(chan error, 1)}
	running := make(chan error, 1)
	go func() {
		err := router.Run(context.Background())
		running <- err
		p.ended <- err
	}()
	select {
	case <-router.Running():
		return p, nil
	case err := <-running:
		return nil, err
	}
}

func (p *process) close() error {
	err := p.router.Close()
	<-p.ended
	return err
}

func deadTopic(topic string) string { return topic + "-dead" }

// newMessage is the suite's message as watermill's, with an id that a broker may deduplicate by.
func newMessage(ctx context.Context, m guardtest.Message) (*message.Message, error) {
	made := message.NewMessageWithContext(ctx, watermill.NewUUID(), []byte(m.ID))
	for key, value := range m.Header {
		made.Metadata.Set(key, value)
	}
	return made, guardwatermill.Inject(ctx, made, m.Business)
}

// A logger notes the last of what it is told. Its mutex also orders what watermill-amqp does at the loss of a connection:
// that exchanges a channel which others read.
type logger struct {
	mu      sync.Mutex
	last    []string
	waiting map[string]chan struct{} // closed when that is logged
}

func newLogger() *logger { return &logger{waiting: map[string]chan struct{}{}} }

// logged returns a channel that is closed when the text is logged from now on.
func (l *logger) logged(text string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{})
	l.waiting[text] = c
	return c
}

func (l *logger) note(text string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.waiting[text]; c != nil {
		close(c)
		delete(l.waiting, text)
	}
	if err != nil {
		l.last = append(l.last, text+": "+err.Error())
		l.last = l.last[max(0, len(l.last)-20):]
	}
}

func (l *logger) Error(text string, err error, _ watermill.LogFields) { l.note(text, err) }
func (l *logger) Info(text string, _ watermill.LogFields)             { l.note(text, nil) }
func (l *logger) Debug(text string, _ watermill.LogFields)            { l.note(text, nil) }
func (l *logger) Trace(text string, _ watermill.LogFields)            { l.note(text, nil) }

func (l *logger) With(watermill.LogFields) watermill.LoggerAdapter { return l }
