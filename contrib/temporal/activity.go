package guardtemporal

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/pgbarrier/pgbarrier/guard"
)

// ActivityName is the type of the activity that waits.
const ActivityName = "pgbarrier"

// Types of the application errors with which the activity, and then the workflow, fails.
const (
	TypeAborted  = "pgbarrier.aborted"  // a transaction rolled back
	TypeRejected = "pgbarrier.rejected" // it is not known, and never will be, whether it committed
	TypePending  = "pgbarrier.pending"  // the activity is tried again
)

const (
	// maxWait bounds an attempt of the activity, whatever guard.Config.Budget is.
	maxWait = 30 * time.Second

	// atOnce is for what should be tried again at once: 0 would be the retry policy's interval.
	atOnce = time.Millisecond
)

// Register makes a worker have the activity that waits, with g's decisions.
func Register(w worker.ActivityRegistry, g *guard.Guard) {
	w.RegisterActivityWithOptions(func(ctx context.Context, tokens string) error { return decide(ctx, g, tokens) },
		activity.RegisterOptions{Name: ActivityName})
}

func decide(ctx context.Context, g *guard.Guard, tokens string) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	switch d := g.Decide(ctx, guard.Map{guard.Header: tokens}); d.Verdict {
	case guard.Run:
		return nil
	case guard.Drop:
		return temporal.NewApplicationErrorWithOptions(d.Err.Error(), TypeAborted, temporal.ApplicationErrorOptions{
			NonRetryable: true, Category: temporal.ApplicationErrorCategoryBenign,
		})
	case guard.Later:
		return temporal.NewApplicationErrorWithOptions(d.Err.Error(), TypePending, temporal.ApplicationErrorOptions{
			NextRetryDelay: max(d.After, atOnce), Category: temporal.ApplicationErrorCategoryBenign,
		})
	default:
		return rejection(d.Err)
	}
}

func rejection(err error) error {
	return temporal.NewNonRetryableApplicationError(err.Error(), TypeRejected, nil)
}

// IsAborted reports whether a workflow has failed because a transaction rolled back that it was started in. err is
// that of its run's Get.
func IsAborted(err error) bool {
	var failed *temporal.ApplicationError
	return errors.As(err, &failed) && failed.Type() == TypeAborted
}
