package guardtemporal

import (
	"errors"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/pgbarrier/pgbarrier/guard"
)

// Config changes what an interceptor does. The zero Config is fine.
type Config struct {
	// Require makes workflows fail that were started without a barrier; guard.Config's has no use here. Children,
	// and runs that continue another one, need none.
	Require bool

	// TaskQueue is that of the workers that have the activity, see [Register]. The workflow's by default.
	TaskQueue string

	// AnyID allows workflow ids without the barrier's id: the SDK's random ones, or ids of each try by other means.
	AnyID bool
}

// NewInterceptor returns an interceptor for client.Options.Interceptors: of clients that start workflows in transactions,
// and of those whose workers run them.
func NewInterceptor(config Config) interceptor.Interceptor { return &root{config: config} }

type root struct {
	interceptor.InterceptorBase
	config Config
}

// changeRequire is the version of workflows that were begun when a barrier was required.
const changeRequire = "pgbarrier-require"

// InterceptWorkflow implements interceptor.WorkerInterceptor.
func (r *root) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	i := &workflowInbound{root: r}
	i.Next = next
	return i
}

type workflowInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	root *root
}

// ExecuteWorkflow begins the workflow when its transactions have committed.
func (i *workflowInbound) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	if err := i.root.await(ctx); err != nil {
		return nil, err
	}
	return i.Next.ExecuteWorkflow(ctx, in)
}

// await decides by the workflow's history alone, so that it does the same again in a replay.
func (r *root) await(ctx workflow.Context) error {
	if workflow.HasLastCompletionResult(ctx) { // of a cron schedule: the run before has begun, and completed
		return nil
	}
	carried, ok := interceptor.WorkflowHeader(ctx)[guard.Header]
	if !ok {
		return r.naked(ctx)
	}
	var text string
	if err := converter.GetDefaultDataConverter().FromPayload(carried, &text); err != nil {
		text = "" // is rejected, as malformed
	}
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           r.config.TaskQueue,
		StartToCloseTimeout: 2 * maxWait,
		RetryPolicy: &temporal.RetryPolicy{ // without a limit: being pending is no failure
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute,
		},
	})
	err := workflow.ExecuteActivity(ctx, ActivityName, text).Get(ctx, nil)
	var decided *temporal.ApplicationError
	if errors.As(err, &decided) {
		return decided // as it is: inside of an ActivityError a retry policy and a metric do not know it
	}
	return err
}

// naked decides about a workflow without a barrier.
func (r *root) naked(ctx workflow.Context) error {
	info := workflow.GetInfo(ctx)
	if !r.config.Require || info.ParentWorkflowExecution != nil || info.ContinuedExecutionRunID != "" {
		return nil
	}
	if workflow.GetVersion(ctx, changeRequire, workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return nil // it has begun before, and is replayed
	}
	return rejection(guard.ErrMissing)
}

// headers are a workflow's, as a carrier. Their values are not encoded by a client's own data converter: the other side
// may have another one.
type headers map[string]*commonpb.Payload

func (h headers) Get(key string) string {
	var value string
	if payload, ok := h[key]; ok {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &value)
	}
	return value
}

func (h headers) Set(key, value string) {
	h[key], _ = converter.GetDefaultDataConverter().ToPayload(value) // a string never fails
}
