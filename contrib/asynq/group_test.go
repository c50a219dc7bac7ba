package pgbarrierasynq

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

func TestAMemberOfAGroupHasNoOthersFate(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var groups []string // as the aggregator got them
	aggregator := asynq.GroupAggregatorFunc(func(group string, tasks []*asynq.Task) *asynq.Task {
		var payloads []string
		for _, task := range tasks {
			payloads = append(payloads, string(task.Payload()))
		}
		mu.Lock()
		defer mu.Unlock()
		groups = append(groups, group+": "+strings.Join(payloads, " "))
		return asynq.NewTask("work", []byte(strings.Join(payloads, " ")))
	})
	b := start(t, guard.Config{Budget: 50 * time.Millisecond}, asynq.Config{
		GroupAggregator: aggregator, GroupGracePeriod: time.Second, GroupMaxSize: 3,
	})

	committed, aborted, pending := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
	b.barriers.Commit(committed)
	b.barriers.Abort(aborted)
	member := func(group, payload, barrier string) { b.enqueue(payload, barrier, asynq.Group(group)) }
	member("ended", "a", committed.String())
	member("ended", "lost", aborted.String())
	member("ended", "b", committed.String())
	b.until("a group without the one that rolled back ran", func() bool { return slices.Equal(b.runs, []string{"a b"}) })

	member("lost", "lost", aborted.String())
	member("lost", "lost", aborted.String())
	member("lost", "lost", aborted.String())

	member("open", "c", committed.String())
	member("open", "d", pending.String())
	member("open", "bad", "no token")
	b.until("a group with one that is pending waits", func() bool {
		tasks, err := b.inspector.ListRetryTasks(b.queue)
		return err == nil && len(tasks) == 1 && tasks[0].Type == groupType && tasks[0].Retried == 0
	})
	b.barriers.Commit(pending)
	b.until("it ran when that had committed", func() bool { return slices.Contains(b.runs, "c d") })
	b.until("the malformed member is in the archive, and nothing is left", func() bool {
		dead, err := b.inspector.ListArchivedTasks(b.queue)
		queue, errQueue := b.inspector.GetQueueInfo(b.queue)
		return err == nil && errQueue == nil && len(dead) == 1 && string(dead[0].Payload) == "bad" && queue.Size == 1
	})
	b.stop()
	b.ran("a b", "c d")
	if want := []string{"ended: a b", "open: c d"}; !slices.Equal(groups, want) {
		t.Errorf("the aggregator got %q, want %q", groups, want)
	}
}
