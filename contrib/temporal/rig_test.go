package guardtemporal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// silent is for what the SDK says of each step.
var silent = log.NewStructuredLogger(slog.New(slog.DiscardHandler))

// A rig is a workflow in the SDK's test environment, and a database whose outcomes the test decides.
type rig struct {
	testing.TB
	*testsuite.TestWorkflowEnvironment
	barriers guardtest.Waiter

	mu        sync.Mutex
	decisions []guard.Decision
	observe   func(guard.Decision) // called with each
	begun     int                  // how often the workflow's code began
}

func newRig(t testing.TB, config Config, of guard.Config) *rig {
	t.Helper()
	r := &rig{TB: t, observe: func(guard.Decision) {}}
	if of.Budget == 0 {
		of.Budget = time.Millisecond
	}
	of.Observe = func(_ context.Context, d guard.Decision) {
		r.mu.Lock()
		r.decisions = append(r.decisions, d)
		r.mu.Unlock()
		r.observe(d)
	}
	g, err := guard.New(&r.barriers, of)
	if err != nil {
		t.Fatal(err)
	}
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(silent)
	r.TestWorkflowEnvironment = suite.NewTestWorkflowEnvironment()
	r.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{NewInterceptor(config)}})
	r.SetTestTimeout(2 * time.Minute)
	Register(r, g)
	r.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: "ship"})
	return r
}

// carry has the workflow started with these tokens.
func (r *rig) carry(tokens ...pgbarrier.Token) {
	r.Helper()
	fields := map[string]*commonpb.Payload{}
	if err := guard.Add(headers(fields), tokens...); err != nil {
		r.Fatal(err)
	}
	r.SetHeader(&commonpb.Header{Fields: fields})
}

func (r *rig) carryText(text any) {
	r.Helper()
	payload, err := converter.GetDefaultDataConverter().ToPayload(text)
	if err != nil {
		r.Fatal(err)
	}
	r.SetHeader(&commonpb.Header{Fields: map[string]*commonpb.Payload{guard.Header: payload}})
}

// ship is the workflow: it has two steps.
func (r *rig) ship(ctx workflow.Context) error {
	r.begun++
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	for range 2 {
		if err := workflow.ExecuteActivity(ctx, "ship").Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// begins runs the workflow, and checks whether it begins, and how often the guard decided.
func (r *rig) begins(want bool, decisions int) {
	r.Helper()
	r.ExecuteWorkflow(r.ship)
	if !r.IsWorkflowCompleted() {
		r.Fatal("the workflow has not ended")
	}
	if begun := r.begun == 1; begun != want || r.begun > 1 || begun != (r.GetWorkflowError() == nil) {
		r.Errorf("the workflow began %d times, and ended with %v", r.begun, r.GetWorkflowError())
	}
	if len(r.decisions) != decisions {
		r.Errorf("the guard decided %d times, want %d", len(r.decisions), decisions)
	}
}

// fails checks with which error the workflow ended. It is the outermost one: nothing else is asked by a retry policy.
func (r *rig) fails(errType string, benign bool) {
	r.Helper()
	var execution *temporal.WorkflowExecutionError
	if !errors.As(r.GetWorkflowError(), &execution) {
		r.Fatalf("the workflow ended with %v", r.GetWorkflowError())
	}
	failed, ok := execution.Unwrap().(*temporal.ApplicationError)
	if !ok {
		r.Fatalf("the workflow failed with %T: %v", execution.Unwrap(), execution)
	}
	if failed.Type() != errType || !failed.NonRetryable() || (failed.Category() == temporal.ApplicationErrorCategoryBenign) != benign {
		r.Errorf("the workflow failed with type %s, not retryable %v, category %v", failed.Type(), failed.NonRetryable(), failed.Category())
	}
	if IsAborted(r.GetWorkflowError()) != (errType == TypeAborted) {
		r.Errorf("IsAborted is wrong about %v", r.GetWorkflowError())
	}
}
