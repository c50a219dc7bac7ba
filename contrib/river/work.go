package guardriver

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier/guard"
)

// VerdictKey is the key of a cancelled job's metadata that says which verdict it was cancelled by, drop or reject. A
// job that somebody else has cancelled does not have it.
const VerdictKey = "pgbarrier_verdict"

// stopPause is when a job comes again that waited in a worker that stops. It is not 0, with which a client that is not
// stopped yet would fetch the job again and again.
const stopPause = time.Second

// work is River's middleware: it works the job if its transactions have committed, and else tells River what to do.
func (w *worker) work(ctx context.Context, job *rivertype.JobRow, doInner func(context.Context) error) error {
	switch d := w.decide(ctx, job); d.Verdict {
	case guard.Run:
		return doInner(ctx)
	case guard.Later:
		return w.snooze(ctx, job, d)
	default:
		_ = river.MetadataSet(ctx, VerdictKey, d.Verdict.String()) // which only fails if River has not called us
		return river.JobCancel(d.Err)
	}
}

// decide waits no longer than the worker runs.
func (w *worker) decide(ctx context.Context, job *rivertype.JobRow) guard.Decision {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.ctx, cancel)()
	return w.guard.Decide(waiting, carrierOf(job))
}

// snooze gives the job back, also if its context has ended: River takes any other error then for a failure, unless it
// was River that ended it. Of a job that was cancelled meanwhile River takes no notice of the error.
func (w *worker) snooze(ctx context.Context, job *rivertype.JobRow, d guard.Decision) error {
	pause := d.After
	if pause <= 0 {
		pause = stopPause
	}
	if ctx.Err() == nil {
		w.hasten(ctx, job, d)
	}
	return fmt.Errorf("%w: %w", d.Err, river.JobSnooze(pause))
}
