package guardasynq

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

func TestAMemberOfAGroupHasNoOthersFate(t *testing.T) {
	t.Parallel()
	aggregator := asynq.GroupAggregatorFunc(func(_ string, tasks []*asynq.Task) *asynq.Task {
		var payloads []string
		for _, task := range tasks {
			payloads = append(payloads, string(task.Payload()))
		}
		return asynq.NewTask("work", []byte(strings.Join(payloads, " ")))
	})
	// What comes again in an hour is only there in time if it is hastened.
	hour := func(time.Duration) time.Duration { return time.Hour }
	b := start(t, guard.Config{Budget: 50 * time.Millisecond, Delay: hour}, asynq.Config{
		GroupAggregator: aggregator, GroupGracePeriod: time.Second, GroupMaxSize: 3,
	})
	// What has run, whatever asynq put together.
	members := func() []string { return slices.Sorted(slices.Values(strings.Fields(strings.Join(b.runs, " ")))) }

	committed, aborted, pending := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
	b.barriers.Commit(committed)
	b.barriers.Abort(aborted)
	member := func(group, payload, barrier string) { b.enqueue(payload, barrier, asynq.Group(group)) }
	member("lost", "lost", aborted.String())
	member("lost", "lost", aborted.String())
	member("ended", "a", committed.String())
	member("ended", "lost", aborted.String())
	member("ended", "b", committed.String())
	b.until("what has committed ran", func() bool { return slices.Equal(members(), []string{"a", "b"}) })

	member("open", "c", committed.String())
	member("open", "d", pending.String())
	member("open", "bad", "no token")
	b.until("a group with a member that is pending waits", func() bool {
		tasks, err := b.inspector.ListRetryTasks(b.queue)
		return err == nil && len(tasks) == 1 && tasks[0].Type == groupType && tasks[0].Retried == 0
	})
	b.barriers.Commit(pending)
	b.until("the rest ran", func() bool { return slices.Equal(members(), []string{"a", "b", "c", "d"}) })
	b.until("the malformed member is in the archive, and nothing else is left", func() bool {
		dead, err := b.inspector.ListArchivedTasks(b.queue)
		queue, errQueue := b.inspector.GetQueueInfo(b.queue)
		return err == nil && errQueue == nil && len(dead) == 1 && string(dead[0].Payload) == "bad" && queue.Size == 1
	})
}
