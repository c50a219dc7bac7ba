package guardkafka

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	commitTimeout = 10 * time.Second
	commitPause   = 200 * time.Millisecond
)

// commits commits offsets: those that were marked while one commit was on its way, with the next.
type commits struct {
	client *kgo.Client
	report func(error)
	marked chan struct{} // has an element when there may be something due

	// Held while a commit is on its way. Whoever gives a partition away waits for that: a commit that arrives later
	// would take back what the partition's next owner has committed.
	turn sync.Mutex

	mu  sync.Mutex
	due map[place]kgo.EpochOffset
}

func newCommits(report func(error)) *commits {
	return &commits{report: report, marked: make(chan struct{}, 1), due: map[place]kgo.EpochOffset{}}
}

// mark says where to begin with the partition next time.
func (s *commits) mark(name place, offset kgo.EpochOffset) {
	s.mu.Lock()
	s.due[name] = offset
	s.mu.Unlock()
	select {
	case s.marked <- struct{}{}:
	default:
	}
}

// run commits what is due, until ctx ends.
func (s *commits) run(ctx context.Context) {
	for {
		select {
		case <-s.marked:
		case <-ctx.Done():
			return
		}
		if err := s.next(ctx); err != nil && ctx.Err() == nil {
			s.report(err)
			sleep(ctx, commitPause)
		}
	}
}

// next commits all that is due. On an error it is due again.
func (s *commits) next(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	offsets := s.due
	s.due = make(map[place]kgo.EpochOffset)
	s.mu.Unlock()
	err := s.commit(ctx, offsets)
	if err != nil {
		s.mu.Lock()
		newer := s.due
		s.due = offsets
		maps.Copy(s.due, newer)
		s.mu.Unlock()
		select {
		case s.marked <- struct{}{}:
		default:
		}
	}
	return err
}

// settle commits what is due of partitions for which nothing runs any more. On an error that is given up.
func (s *commits) settle(partitions []*partition) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.commit(context.Background(), s.take(partitions))
}

// drop gives up what is due of partitions that are another process's already.
func (s *commits) drop(partitions []*partition) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.take(partitions)
}

func (s *commits) take(partitions []*partition) map[place]kgo.EpochOffset {
	s.mu.Lock()
	defer s.mu.Unlock()
	offsets := make(map[place]kgo.EpochOffset)
	for _, p := range partitions {
		if offset, ok := s.due[p.name]; ok {
			offsets[p.name] = offset
			delete(s.due, p.name)
		}
	}
	return offsets
}

func (s *commits) commit(ctx context.Context, offsets map[place]kgo.EpochOffset) error {
	if len(offsets) == 0 {
		return nil
	}
	request := make(map[string]map[int32]kgo.EpochOffset)
	for name, offset := range offsets {
		if request[name.topic] == nil {
			request[name.topic] = make(map[int32]kgo.EpochOffset)
		}
		request[name.topic][name.partition] = offset
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	var failed error
	s.client.CommitOffsetsSync(ctx, request, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		if failed = err; err != nil {
			return
		}
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = err
				}
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("pgbarrier: kafka: commit offsets: %w", failed)
	}
	return nil
}
