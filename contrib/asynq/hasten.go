package guardasynq

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/pgbarrier/pgbarrier/guard"
)

const (
	minPause, maxPause = 5 * time.Millisecond, time.Second

	// reviveTimeout is longer than a lease (30 s), within which asynq tries to write what became of the task.
	reviveTimeout = time.Minute
)

var errActive = errors.New("pgbarrier: asynq has not put the task back yet")

// hasten makes a task that is handed back run as soon as its transactions have ended.
func (w *worker) hasten(ctx context.Context, d guard.Decision) {
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	w.guard.Wake(w.ctx, d, func(context.Context) error { return w.run(queue, id, d.Err.Error()) })
}

// revive takes a task out of the archive, where asynq puts it on its last attempt: whose time is nearly over, and
// which can be neither held longer nor handed back. It comes again, with all of its time, and still on its last attempt.
func (w *worker) revive(ctx context.Context, d guard.Decision) {
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	context.AfterFunc(ctx, func() { // asynq ends ctx when it has written
		deadline := time.Now().Add(reviveTimeout)
		for pause := minPause; w.run(queue, id, d.Err.Error()) != nil && time.Now().Before(deadline); pause = min(2*pause, maxPause) {
			time.Sleep(pause)
		}
	})
}

// run moves a task to the queue if it is still as we have handed it back, with that error. What has run meanwhile must
// not run again: RunTask would take it out of a handler's own retries, the archive and the completed ones as well.
// An error means that it should be tried again.
func (w *worker) run(queue, id, handedBack string) error {
	info, err := w.inspector.GetTaskInfo(queue, id)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound), errors.Is(err, redis.ErrClosed):
		return nil
	case err != nil:
		return err
	case info.State == asynq.TaskStateActive:
		return errActive
	case info.LastErr != handedBack, info.State != asynq.TaskStateRetry && info.State != asynq.TaskStateArchived:
		return nil
	}
	return w.inspector.RunTask(queue, id)
}
