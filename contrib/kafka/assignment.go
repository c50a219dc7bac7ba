package guardkafka

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partition returns the one of that name, which begins with a record if it is new.
func (c *consumer) partition(name place, first *kgo.Record) *partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.partitions[name]
	if p == nil {
		p = c.newPartition(name)
		c.partitions[name] = p
		// Where nothing has been committed yet and kgo.ConsumeResetOffset is the end, whoever has the partition
		// next would begin behind what is held now.
		c.commits.mark(name, kgo.EpochOffset{Epoch: first.LeaderEpoch, Offset: first.Offset})
		go p.run()
	}
	return p
}

// revoked is called by the client before the group gives partitions to others, and waits for it. The client takes no
// records from them any more.
func (c *consumer) revoked(_ context.Context, _ *kgo.Client, names map[string][]int32) {
	mine := c.take(names)
	c.end(mine, c.config.Grace)
	if err := c.commits.settle(mine); err != nil {
		c.config.Report(err)
	}
}

// lost is called by the client when others may have the partitions already.
func (c *consumer) lost(_ context.Context, _ *kgo.Client, names map[string][]int32) {
	mine := c.take(names)
	c.end(mine, 0)
	c.commits.drop(mine)
}

// take forgets the partitions of these names, and returns those that there were.
func (c *consumer) take(names map[string][]int32) (taken []*partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, numbers := range names {
		for _, number := range numbers {
			name := place{topic, number}
			if p := c.partitions[name]; p != nil {
				taken = append(taken, p)
				delete(c.partitions, name)
			}
		}
	}
	return taken
}

func (c *consumer) takeAll() []*partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := slices.Collect(maps.Values(c.partitions))
	clear(c.partitions)
	return taken
}

// end returns when nothing runs for the partitions. Handlers are told after the grace.
func (c *consumer) end(partitions []*partition, grace time.Duration) {
	for _, p := range partitions {
		p.stop()
	}
	timer := time.AfterFunc(grace, func() {
		for _, p := range partitions {
			p.kill()
		}
	})
	defer timer.Stop()
	for _, p := range partitions {
		<-p.done
		p.kill()
	}
}
