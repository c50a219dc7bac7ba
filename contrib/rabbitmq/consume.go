package guardrabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier/guard"
)

// Dial connects to the broker, with amqp.Dial or amqp.DialConfig. [Consume] owns the connection. It must not have
// amqp.Config.Recovery, which would take a lost delivery for one that can still be acknowledged.
type Dial func() (*amqp.Connection, error)

// Consume calls the handler for each message of a queue whose transaction has committed, until ctx ends. Then it stops
// in order: messages that wait go back to the queue, calls of the handler may end, and it returns nil.
//
// It dials twice, because a broker that is short of memory stops reading from connections that publish. After a lost
// connection it dials again, with growing pauses. An error is what went wrong before it consumed for the first time:
// a wrong Config, a broker that is not there, a queue that does not exist.
func Consume(ctx context.Context, dial Dial, g *guard.Guard, config Config, handle Handler) error {
	if dial == nil || g == nil || handle == nil {
		return errors.New("pgbarrier: rabbitmq: Consume needs a dial, a guard and a handler")
	}
	config, err := config.complete()
	if err != nil {
		return err
	}
	c := &consumer{Config: config, guard: g, handle: handle, stopped: ctx, due: newDue(), workers: make(chan struct{}, config.Workers)}
	defer c.tasks.Wait()
	started := false
	var pause time.Duration
	for ctx.Err() == nil {
		consumed, err := c.session(ctx, dial)
		switch {
		case ctx.Err() != nil && (err == nil || started || consumed):
			return nil
		case !consumed && !started:
			return fmt.Errorf("pgbarrier: rabbitmq: %w", err)
		case consumed:
			started, pause = true, 0
		}
		c.Report(fmt.Errorf("pgbarrier: rabbitmq: connecting again: %w", err))
		pause = min(max(2*pause, minPause), maxPause)
		sleep(ctx, pause)
	}
	return nil
}

const minPause, maxPause = 50 * time.Millisecond, 5 * time.Second

// A consumer is what outlasts connections.
type consumer struct {
	Config
	guard   *guard.Guard
	handle  Handler
	stopped context.Context // ends when it is to stop
	due     *due
	workers chan struct{} // has an element for each message that is handled
	tasks   sync.WaitGroup
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
