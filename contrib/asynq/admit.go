package guardasynq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/pgbarrier/pgbarrier/guard"
)

// handBack is the error of a task that comes again later. asynq is told by Configure that it is no failure.
type handBack struct{ guard.Decision }

func (b *handBack) Error() string { return b.Err.Error() }
func (b *handBack) Unwrap() error { return b.Err }

func isHandBack(err error) bool {
	var back *handBack
	return errors.As(err, &back)
}

// drop is the error of a task whose transaction rolled back. asynq deletes such a task and frees its id and its
// lock: nil would keep it for its Retention, and SkipRetry in the archive.
type drop struct{ err error }

func (d *drop) Error() string   { return d.err.Error() }
func (d *drop) Unwrap() []error { return []error{d.err, asynq.RevokeTask} }

func isDrop(err error) bool {
	var d *drop
	return errors.As(err, &d)
}

// archive is the error of a task that never will run, for a person to look at.
func archive(d guard.Decision) error { return fmt.Errorf("%w: %w", d.Err, asynq.SkipRetry) }

// admit returns nil if the handler is to run, else what to tell asynq.
func (w *worker) admit(ctx context.Context, task *asynq.Task) error {
	last := isLast(ctx)
	var d guard.Decision
	if last {
		d = w.hold(ctx, guard.Map(task.Headers()))
	} else {
		var cancel context.CancelFunc
		waiting, cancel := w.waiting(ctx)
		d = w.guard.Decide(waiting, guard.Map(task.Headers()))
		cancel()
	}

	switch d.Verdict {
	case guard.Run:
		return nil
	case guard.Drop:
		return &drop{d.Err}
	case guard.Reject:
		return archive(d)
	}
	if err := ctx.Err(); err != nil {
		return err // as asynq answers a task that was canceled, or has come too late
	}
	if last {
		w.revive(ctx, d)
	} else {
		w.hasten(ctx, d)
	}
	return &handBack{d}
}

// isLast reports whether asynq archives the task if this attempt ends with any error, also one that is no failure.
func isLast(ctx context.Context) bool {
	retried, ok := asynq.GetRetryCount(ctx)
	limit, _ := asynq.GetMaxRetry(ctx)
	return ok && retried >= limit
}

// hold waits although the worker stops: Shutdown puts the task back into the queue at the end of ShutdownTimeout, which
// burns nothing.
func (w *worker) hold(ctx context.Context, c guard.Carrier) guard.Decision {
	half, cancel := halfOf(ctx)
	defer cancel()
	return w.guard.Hold(half, c)
}

// waiting returns the context of a wait. It ends with the worker's.
func (w *worker) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := halfOf(ctx)
	stop := context.AfterFunc(w.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// halfOf returns a context for half of the time that the task has left. When its Timeout is over asynq counts a
// failure, whatever the handler returns then; and the handler needs time as well.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}
