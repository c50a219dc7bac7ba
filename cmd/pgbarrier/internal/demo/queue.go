package demo

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
)

// A queue is what messages go through on their way from the producers to the worker. What is in it survives the
// producers, which are other processes.
type queue interface {
	// consume calls handle for the messages as g decides, until ctx ends; then it finishes what has begun.
	consume(ctx context.Context, g *guard.Guard, handle handler) error
	// isEmpty reports whether no message is left. It knows for certain while nobody consumes.
	isEmpty(ctx context.Context) (bool, error)
	// remove leaves nothing of it in the broker.
	remove(ctx context.Context) error
}

// A handler does the work for an order. Its errors end the demonstration.
type handler func(ctx context.Context, request int) error

// A sender is a producer's end of a queue.
type sender interface {
	// send returns when the queue has the message. That has the barrier of the context's transaction, if there is one.
	send(ctx context.Context, request int) error
	close()
}

// A kind is a way to have queues.
type kind struct {
	title  string
	broker *devbroker.Kind // nil: needs none
	open   func(ctx context.Context, url, name string) (queue, error)
	dial   func(ctx context.Context, url, name string) (sender, error)
}

// defaultKind is what is always there. Its messages go through the producers' stdout.
const defaultKind = "channel"

var kinds = map[string]kind{
	defaultKind: {title: "a Go channel, it could be any"},
	"nats":      {"NATS JetStream", devbroker.NATS, openStream, dialStream},
	"redis":     {"asynq on Redis", devbroker.Redis, openTasks, dialTasks},
	"rabbitmq":  {"RabbitMQ", devbroker.RabbitMQ, openAMQP, dialAMQP},
}

// An address is where producer processes find a queue.
type address struct{ kind, url, name string }

func (a address) String() string { return a.kind + " " + a.url + " " + a.name }

func parseAddress(text string) (address, error) {
	fields := strings.Fields(text)
	if len(fields) != 3 || kinds[fields[0]].dial == nil {
		return address{}, fmt.Errorf("%q is not the address of a queue", text)
	}
	return address{fields[0], fields[1], fields[2]}, nil
}

// A Message is what the orders service puts into the channel. The token is all that a barrier adds.
type Message struct {
	Request int             `json:"request"`
	Barrier pgbarrier.Token `json:"barrier,omitzero"`
}

func (m Message) header() guard.Map {
	if m.Barrier.IsZero() {
		return nil
	}
	return guard.Map{guard.Header: m.Barrier.String()}
}

// A channel has room for all messages.
type channel chan Message

func (q channel) consume(ctx context.Context, g *guard.Guard, handle handler) error {
	var workers sync.WaitGroup
	for range workersAtOnce {
		workers.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case m := <-q:
					switch g.Hold(ctx, m.header()).Verdict {
					case guard.Run:
						_ = handle(context.WithoutCancel(ctx), m.Request)
					case guard.Later:
						q <- m
					}
				}
			}
		})
	}
	workers.Wait()
	return nil
}

func (q channel) isEmpty(context.Context) (bool, error) { return len(q) == 0, nil }

func (q channel) remove(context.Context) error { return nil }
