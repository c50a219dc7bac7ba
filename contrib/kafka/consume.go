package guardkafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pgbarrier/pgbarrier/guard"
)

const (
	// pollPause is after a poll that has failed.
	pollPause = 200 * time.Millisecond

	// fetchWait is how long a broker keeps a request for records that it does not have. A partition that was paused is
	// in the next request only, so that this is how late it goes on.
	fetchWait = 500 * time.Millisecond

	// leaveTimeout bounds the farewell to the group. Without one, the group notices after its session timeout.
	leaveTimeout = 5 * time.Second
)

// A consumer is one call of Consume.
type consumer struct {
	client *kgo.Client
	guard  *guard.Guard
	config Config
	handle Handler

	workers chan struct{}   // has an element for each call of the handler
	running context.Context // ends when Consume is to stop
	values  context.Context // the same without its end, for handlers
	commits *commits

	mu         sync.Mutex
	partitions map[place]*partition // of which this process has had records
}

// A place is a partition's name.
type place struct {
	topic     string
	partition int32
}

// Consume calls handle for the records of a consumer group as g decides, until ctx ends. Then it lets handlers
// finish, commits the offsets of what is done with, and leaves the group. What was held is not committed, and comes to
// whoever has its partition next. It returns nil, what is wrong with its arguments, or why the last commit has failed:
// then records that were handled come again.
//
// The client is made from opts, which say at least kgo.SeedBrokers, kgo.ConsumerGroup and kgo.ConsumeTopics. Consume
// replaces kgo.BlockRebalanceOnPoll, DisableAutoCommit, OnPartitionsRevoked, OnPartitionsLost and RequiredAcks, and waits
// for half a second in a fetch unless opts have kgo.FetchMaxWait.
func Consume(ctx context.Context, g *guard.Guard, config Config, handle Handler, opts ...kgo.Opt) error {
	if g == nil || handle == nil {
		return errors.New("pgbarrier: kafka: Consume needs a guard and a handler")
	}
	config, err := config.complete()
	if err != nil {
		return err
	}
	c := &consumer{
		guard: g, config: config, handle: handle,
		workers: make(chan struct{}, config.Workers),
		running: ctx, values: context.WithoutCancel(ctx),
		commits:    newCommits(config.Report),
		partitions: make(map[place]*partition),
	}
	opts = append([]kgo.Opt{kgo.FetchMaxWait(fetchWait)}, opts...)
	c.client, err = kgo.NewClient(append(opts,
		kgo.BlockRebalanceOnPoll(), kgo.DisableAutoCommit(), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.OnPartitionsRevoked(c.revoked), kgo.OnPartitionsLost(c.lost))...)
	if err != nil {
		return fmt.Errorf("pgbarrier: kafka: make the client: %w", err)
	}
	c.commits.client = c.client
	defer c.close()
	if err := config.fits(c.client); err != nil {
		return err
	}

	committing, cease := context.WithCancel(c.values)
	defer cease()
	var committer sync.WaitGroup
	committer.Go(func() { c.commits.run(committing) })
	c.poll()
	all := c.takeAll()
	c.end(all, c.config.Grace)
	cease()
	committer.Wait()
	return c.commits.settle(all)
}

// poll gives records to their partitions, until c stops.
func (c *consumer) poll() {
	for c.running.Err() == nil {
		fetches := c.client.PollFetches(c.running)
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if len(f.Records) > 0 {
				c.partition(place{f.Topic, f.Partition}, f.Records[0]).add(f.Records)
			}
		})
		// Only now: a partition is not taken away between the poll and the partition's knowing of its records.
		c.client.AllowRebalance()
		failed := false
		fetches.EachError(func(topic string, number int32, err error) {
			if failed = true; c.running.Err() == nil {
				c.config.Report(fmt.Errorf("pgbarrier: kafka: fetch from %q, partition %d: %w", topic, number, err))
			}
		})
		if failed {
			sleep(c.running, pollPause)
		}
	}
}

// close leaves the group, for which it does not wait long, and ends the client.
func (c *consumer) close() {
	ctx, cancel := context.WithTimeout(c.values, leaveTimeout)
	defer cancel()
	if err := c.client.LeaveGroupContext(ctx); err != nil {
		c.config.Report(fmt.Errorf("pgbarrier: kafka: leave the group: %w", err))
	}
	c.client.Close()
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
