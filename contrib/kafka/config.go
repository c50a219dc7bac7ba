package guardkafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Handler handles a record whose transaction has committed. An error is a failed attempt, see Config.Attempts.
//
// The context is that of [Consume] without its end. It ends when the record's partition was taken away from this
// process, and Config.Grace has passed: a handler that goes on keeps the group from giving the partition to another.
type Handler func(ctx context.Context, r *kgo.Record) error

// Config says how [Consume] works. Dead has no default.
type Config struct {
	// Dead is the topic for records that will never run, and for those whose handler has failed Attempts times. It
	// exists, nobody guarded consumes it, and it takes messages 1 kB longer than those of the topics that are consumed.
	Dead string

	// Parked is the topic for records that guard.Config.GiveUp has given up, whose transaction may commit after
	// all. Consume it with a guard that does not give up. Dead by default.
	Parked string

	// Workers is how many calls of the handler there may be at once, one for each partition at most. 10 by default.
	Workers int

	// Ahead is for how many records of a partition the guard is asked at once, about 5 kB each for those that are
	// pending. While more than that wait, the partition is paused; there may be those of one fetch beyond. 100 by default.
	Ahead int

	// Attempts is how often the handler may fail for a record, in one process, before the record is dead. 20 by default.
	Attempts int

	// Retry tells how long after a failure the handler is called again. failures is 1 after the first. The partition
	// waits for that. By default 1 s, 2 s, 4 s … 1 min.
	Retry func(failures int, err error) time.Duration

	// Grace is how long a handler may still run when Consume is to stop, or its partition goes to another process. It
	// must be well below the group's rebalance timeout, 60 s unless it was changed. 30 s by default.
	Grace time.Duration

	// Report, if not nil, is told what went wrong and is tried again: a handler's error, a commit, a record that
	// cannot be produced to Dead. It may be called by several goroutines at once.
	Report func(error)
}

const (
	defaultWorkers  = 10
	defaultAhead    = 100
	defaultAttempts = 20
	defaultGrace    = 30 * time.Second
	maxRetry        = time.Minute
)

func (c Config) complete() (Config, error) {
	if c.Dead == "" {
		return c, errors.New("pgbarrier: kafka: Config.Dead is empty: name a topic for records that will never run")
	}
	if c.Workers < 0 || c.Ahead < 0 || c.Attempts < 0 || c.Grace < 0 {
		return c, errors.New("pgbarrier: kafka: Workers, Ahead, Attempts and Grace cannot be negative")
	}
	if c.Parked == "" {
		c.Parked = c.Dead
	}
	if c.Workers == 0 {
		c.Workers = defaultWorkers
	}
	if c.Ahead == 0 {
		c.Ahead = defaultAhead
	}
	if c.Attempts == 0 {
		c.Attempts = defaultAttempts
	}
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	if c.Retry == nil {
		c.Retry = func(failures int, _ error) time.Duration {
			return min(time.Second<<min(failures-1, 6), maxRetry)
		}
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	return c, nil
}

// fits reports what of a client's options a guarded consumer cannot work with.
func (c Config) fits(client *kgo.Client) error {
	if group, _ := client.OptValue(kgo.ConsumerGroup).(string); group == "" {
		return errors.New("pgbarrier: kafka: the options have no kgo.ConsumerGroup: offsets are committed to one")
	}
	if set := client.OptValues(kgo.TransactionalID); len(set) == 2 && set[1] == true {
		return errors.New("pgbarrier: kafka: kgo.TransactionalID: dead records are produced outside of a transaction")
	}
	for _, topic := range []string{c.Dead, c.Parked} {
		if slices.Contains(client.GetConsumeTopics(), topic) {
			return fmt.Errorf("pgbarrier: kafka: %s is consumed, and the topic for what is not handled", topic)
		}
	}
	return nil
}
