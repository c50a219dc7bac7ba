package guardasynq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/hibiken/asynq"

	"github.com/pgbarrier/pgbarrier/guard"
)

// A group's members are of many transactions. Each is decided about by its own barrier, before the user's aggregator
// sees it: what rolled back is left out. If one is pending, or is to be archived, the whole group becomes a task
// of its own, an open group, that waits in the queue as any other does. asynq has no way to put it back into the
// group: an aggregator that returns nil leaves it where nobody looks until another member comes.
const (
	groupType   = "pgbarrier:group"
	groupHeader = "pgbarrier-group" // the group's name
)

// member is a task of an open group.
type member struct {
	Type    string            `json:"type"`
	Payload []byte            `json:"payload"`
	Headers map[string]string `json:"headers"`
}

func (m member) task() *asynq.Task { return asynq.NewTaskWithHeaders(m.Type, m.Payload, m.Headers) }

// aggregate is the server's GroupAggregator.
func (w *worker) aggregate(group string, tasks []*asynq.Task) *asynq.Task {
	var committed []*asynq.Task
	open := false
	for i, d := range w.guard.DecideEach(w.ctx, carriers(tasks)) {
		switch d.Verdict {
		case guard.Run:
			committed = append(committed, tasks[i])
		case guard.Drop:
		default:
			open = true
		}
	}
	if !open && len(committed) > 0 {
		return w.aggregator.Aggregate(group, committed)
	}
	members := make([]member, len(tasks))
	for i, t := range tasks {
		members[i] = member{t.Type(), t.Payload(), t.Headers()}
	}
	payload, err := json.Marshal(members)
	if err != nil {
		return nil // never
	}
	// It fails only if redis does, and what it holds must not end in the archive for that.
	return asynq.NewTaskWithHeaders(groupType, payload, map[string]string{groupHeader: group}, asynq.MaxRetry(math.MaxInt32))
}

// endGroup handles an open group.
func (w *worker) endGroup(ctx context.Context, task *asynq.Task) error {
	if w.aggregator == nil {
		return errors.New("pgbarrier: asynq: a group came to a server that has no GroupAggregator")
	}
	var members []member
	if err := json.Unmarshal(task.Payload(), &members); err != nil {
		return fmt.Errorf("pgbarrier: asynq: read a group: %w: %w", err, asynq.SkipRetry)
	}
	tasks := make([]*asynq.Task, len(members))
	for i, m := range members {
		tasks[i] = m.task()
	}

	waiting, cancel := w.waiting(ctx)
	decisions := w.guard.DecideEach(waiting, carriers(tasks))
	cancel()
	if d, pending := pendingOf(decisions); pending {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.hasten(ctx, d)
		return &handBack{d}
	}

	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	var committed []*asynq.Task
	for i, d := range decisions {
		switch d.Verdict {
		case guard.Run:
			committed = append(committed, tasks[i])
		case guard.Reject:
			// A task of its own, which is archived when it comes.
			if err := w.enqueue(ctx, tasks[i], asynq.Queue(queue), asynq.TaskID(fmt.Sprintf("%s.%d", id, i))); err != nil {
				return err
			}
		}
	}
	if len(committed) == 0 {
		return nil
	}
	return w.enqueue(ctx, w.aggregator.Aggregate(task.Headers()[groupHeader], committed), asynq.Queue(queue))
}

// enqueue is no error if redis has the task already, from an attempt whose answer was lost.
func (w *worker) enqueue(ctx context.Context, task *asynq.Task, opts ...asynq.Option) error {
	_, err := w.client.EnqueueContext(ctx, task, opts...)
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) && !errors.Is(err, asynq.ErrDuplicateTask) {
		return fmt.Errorf("pgbarrier: asynq: enqueue for a group: %w", err)
	}
	return nil
}

// pendingOf returns the decision about all members that are pending, as if they were one.
func pendingOf(decisions []guard.Decision) (all guard.Decision, pending bool) {
	for _, d := range decisions {
		if d.Verdict != guard.Later {
			continue
		}
		tokens := append(all.Tokens, d.Tokens...)
		if !pending || d.After > all.After {
			all = d
		}
		all.Tokens, pending = tokens, true
	}
	return all, pending
}

func carriers(tasks []*asynq.Task) []guard.Carrier {
	c := make([]guard.Carrier, len(tasks))
	for i, t := range tasks {
		c[i] = guard.Map(t.Headers())
	}
	return c
}
