package guardjetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier/guard"
)

// Config changes how [Consume] works. The zero Config is fine.
type Config struct {
	// Workers is how many calls of the handler there may be at once. 10 by default. Twice as many messages are
	// taken from the server, besides those that are pending.
	Workers int

	// Held is how many messages that are pending may be held beside the workers, about 5 kB each. By default
	// the consumer's MaxAckPending, which bounds them anyway, or 10 000 where it has none.
	Held int

	// Retry tells how long after a handler has failed the message comes again. delivery is 1 after the first
	// time. By default the consumer's BackOff, or 1 s, 2 s, 4 s … 1 min where it has none.
	Retry func(delivery int, err error) time.Duration

	// Grace is how long handlers may still run when Consume is to stop, and how long a message is waited for that
	// would not be delivered again. 30 s by default.
	Grace time.Duration

	// Error, if not nil, is told what goes wrong with the server and is tried again, and ErrAckPendingFull. It
	// may be called by several goroutines at once.
	Error func(error)
}

var (
	// ErrAckPendingFull: this process alone has as many messages as the consumer's MaxAckPending allows, so that the
	// server delivers no others until one of them is done with. Raise it.
	ErrAckPendingFull = errors.New("pgbarrier: jetstream: MaxAckPending is reached: nothing else is delivered")

	// ErrLastDelivery: Consume has stopped with messages that were pending, or had not been handled, and that
	// the server does not deliver again. They are in the stream. Set MaxDeliver to -1, or higher.
	ErrLastDelivery = errors.New("pgbarrier: jetstream: stopped on the last delivery that MaxDeliver allows")
)

const (
	defaultWorkers = 10
	defaultHeld    = 10_000
	defaultGrace   = 30 * time.Second
	maxRetry       = time.Minute
)

// A consumer is one call of Consume.
type consumer struct {
	jetstream.Consumer
	guard  *guard.Guard
	config Config
	handle func(context.Context, jetstream.Msg) error

	// Of the consumer's information, as it was at the beginning.
	maxDeliver    int // 0: any number
	maxAckPending int // 0: any number
	beat          time.Duration
	limits        jetstream.ConsumerConfig
	reasons       bool // the server understands Term with a reason

	taken   chan struct{} // has an element for each message that may be taken from the server, or is being decided or handled
	held    chan struct{} // ... that is held beside
	workers chan struct{} // ... that is handled

	running context.Context // ends when Consume is to stop
	alive   context.Context // ends when there is no more time for anything
	pulled  chan struct{}   // closed when nothing is asked for any more
	tasks   sync.WaitGroup  // a delivery each

	mu         sync.Mutex
	deliveries map[uint64]*delivery // by their place in the stream: what is not done with
	pending    map[string]int       // how many messages are held, by their header
	lost       []uint64             // ErrLastDelivery
}

// Consume calls handle for the consumer's messages as g decides, until ctx ends. Then it lets handlers finish and
// gives back what has not been handled; it returns nil, an error that wraps [ErrLastDelivery], or sooner what cannot
// be mended: a connection that is closed, a consumer that is deleted. Nothing is left running.
//
// An error of handle is a failed attempt: the message comes again, up to the consumer's MaxDeliver. The context of
// handle is ctx without its end; it ends Config.Grace later. handle may settle the message itself (Term, NakWithDelay)
// and return nil.
//
// The consumer must be a pull consumer with AckExplicitPolicy. Close or drain its connection afterwards, which sends
// what was given back.
func Consume(ctx context.Context, from jetstream.Consumer, g *guard.Guard, config Config, handle func(context.Context, jetstream.Msg) error) error {
	if from == nil || g == nil || handle == nil {
		return errors.New("pgbarrier: jetstream: Consume needs a consumer, a guard and a handler")
	}
	info, err := from.Info(ctx)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pgbarrier: jetstream: ask for the consumer: %w", err)
	}
	c := &consumer{Consumer: from, guard: g, config: config, handle: handle,
		pulled: make(chan struct{}), deliveries: make(map[uint64]*delivery), pending: make(map[string]int)}
	if err := c.configure(info.Config); err != nil {
		return err
	}

	alive, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	running, stop := context.WithCancel(ctx)
	defer stop()
	c.running, c.alive = running, alive

	var beating sync.WaitGroup
	beating.Go(c.keepAlive)
	err = c.pull()
	close(c.pulled)
	stop()
	if err != nil {
		kill()
	}
	grace := time.AfterFunc(c.config.Grace, kill)
	defer grace.Stop()
	c.tasks.Wait()
	kill()
	beating.Wait()

	if len(c.lost) > 0 {
		slices.Sort(c.lost)
		err = errors.Join(err, fmt.Errorf("%w: stream %s, messages %v", ErrLastDelivery, info.Stream, c.lost))
	}
	return err
}

// configure takes what there is to know of the server's consumer, and completes the configuration.
func (c *consumer) configure(of jetstream.ConsumerConfig) error {
	if of.AckPolicy != jetstream.AckExplicitPolicy {
		return fmt.Errorf("pgbarrier: jetstream: the consumer's AckPolicy is %v, a guard needs AckExplicitPolicy", of.AckPolicy)
	}
	if c.config.Workers < 0 || c.config.Held < 0 || c.config.Grace < 0 {
		return fmt.Errorf("pgbarrier: jetstream: Workers, Held and Grace cannot be negative: %d, %d, %v", c.config.Workers, c.config.Held, c.config.Grace)
	}
	c.limits = of
	c.maxDeliver, c.maxAckPending = max(0, of.MaxDeliver), max(0, of.MaxAckPending)
	c.beat = beat(of)
	// Servers before 2.10.4 take a Term with a reason for nothing at all. Those that tell their version here, since
	// 2.11, are newer, and are those that have the stream; a connection's may be a leaf node.
	_, c.reasons = of.Metadata["_nats.ver"]

	if c.config.Workers == 0 {
		c.config.Workers = defaultWorkers
	}
	if c.config.Held == 0 {
		if c.config.Held = c.maxAckPending; c.config.Held == 0 {
			c.config.Held = defaultHeld
		}
	}
	if c.config.Grace == 0 {
		c.config.Grace = defaultGrace
	}
	if c.config.Retry == nil {
		c.config.Retry = func(delivery int, _ error) time.Duration {
			if n := len(of.BackOff); n > 0 {
				return of.BackOff[min(delivery, n)-1]
			}
			return min(time.Second<<min(delivery-1, 6), maxRetry)
		}
	}
	c.taken = make(chan struct{}, 2*c.config.Workers)
	c.held = make(chan struct{}, c.config.Held)
	c.workers = make(chan struct{}, c.config.Workers)
	return nil
}

func (c *consumer) report(err error) {
	if err != nil && c.config.Error != nil {
		c.config.Error(err)
	}
}
