package guardtemporal

import (
	"strconv"
	"testing"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// A history is a workflow's, as a server has recorded it.
type history struct{ events []*historypb.HistoryEvent }

func (h *history) add(kind enumspb.EventType, e *historypb.HistoryEvent) int64 {
	e.EventId, e.EventType = int64(len(h.events)+1), kind
	h.events = append(h.events, e)
	return e.EventId
}

// begin is a workflow's start, with a barrier or without.
func (h *history) begin(t *testing.T, barrier bool) {
	t.Helper()
	fields := map[string]*commonpb.Payload{}
	if barrier {
		if err := guard.Add(headers(fields), guardtest.NewToken()); err != nil {
			t.Fatal(err)
		}
	}
	h.add(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, &historypb.HistoryEvent{
		Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{
			WorkflowType: &commonpb.WorkflowType{Name: "Ship"}, TaskQueue: &taskqueuepb.TaskQueue{Name: "orders"},
			Header: &commonpb.Header{Fields: fields}, OriginalExecutionRunId: "run", FirstExecutionRunId: "run",
		}},
	})
	h.task()
}

// task is a workflow task: the workflow's code runs until it waits.
func (h *history) task() {
	scheduled := h.add(enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, &historypb.HistoryEvent{
		Attributes: &historypb.HistoryEvent_WorkflowTaskScheduledEventAttributes{WorkflowTaskScheduledEventAttributes: &historypb.WorkflowTaskScheduledEventAttributes{}},
	})
	started := h.add(enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED, &historypb.HistoryEvent{
		Attributes: &historypb.HistoryEvent_WorkflowTaskStartedEventAttributes{WorkflowTaskStartedEventAttributes: &historypb.WorkflowTaskStartedEventAttributes{ScheduledEventId: scheduled}},
	})
	h.add(enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, &historypb.HistoryEvent{
		Attributes: &historypb.HistoryEvent_WorkflowTaskCompletedEventAttributes{WorkflowTaskCompletedEventAttributes: &historypb.WorkflowTaskCompletedEventAttributes{ScheduledEventId: scheduled, StartedEventId: started}},
	})
}

// activity is one that the last workflow task has scheduled, and that completes.
func (h *history) activity(name string) {
	last := int64(len(h.events))
	scheduled := h.add(enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, &historypb.HistoryEvent{
		Attributes: &historypb.HistoryEvent_ActivityTaskScheduledEventAttributes{ActivityTaskScheduledEventAttributes: &historypb.ActivityTaskScheduledEventAttributes{
			ActivityId: strconv.FormatInt(last+1, 10), ActivityType: &commonpb.ActivityType{Name: name}, TaskQueue: &taskqueuepb.TaskQueue{Name: "orders"}, WorkflowTaskCompletedEventId: last,
		}},
	})
	started := h.add(enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED, &historypb.HistoryEvent{
		Attributes: &historypb.HistoryEvent_ActivityTaskStartedEventAttributes{ActivityTaskStartedEventAttributes: &historypb.ActivityTaskStartedEventAttributes{ScheduledEventId: scheduled}},
	})
	h.add(enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, &historypb.HistoryEvent{
		Attributes: &historypb.HistoryEvent_ActivityTaskCompletedEventAttributes{ActivityTaskCompletedEventAttributes: &historypb.ActivityTaskCompletedEventAttributes{ScheduledEventId: scheduled, StartedEventId: started}},
	})
	h.task()
}

// end is the workflow's.
func (h *history) end() {
	h.add(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED, &historypb.HistoryEvent{
		Attributes: &historypb.HistoryEvent_WorkflowExecutionCompletedEventAttributes{WorkflowExecutionCompletedEventAttributes: &historypb.WorkflowExecutionCompletedEventAttributes{
			WorkflowTaskCompletedEventId: int64(len(h.events)),
		}},
	})
}

// replay runs the workflow's code against its history, without a guard, a database, or any activity.
func replay(t *testing.T, config Config, h *history) error {
	t.Helper()
	r, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{
		Interceptors: []interceptor.WorkerInterceptor{NewInterceptor(config)}, DataConverter: converter.GetDefaultDataConverter(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.RegisterWorkflowWithOptions(new(rig).ship, workflow.RegisterOptions{Name: "Ship"})
	return r.ReplayWorkflowHistory(silent, &historypb.History{Events: h.events})
}

func TestAGuardedWorkflowIsReplayed(t *testing.T) {
	t.Parallel()
	h := new(history)
	h.begin(t, true)
	h.activity(ActivityName)
	h.activity("ship")
	h.activity("ship")
	h.end()
	for range 2 {
		if err := replay(t, Config{}, h); err != nil {
			t.Error(err)
		}
	}
}

// Workflows that began before there were workers with the interceptor, or before barriers were required, go on.
func TestAWorkflowThatBeganUnguardedIsReplayed(t *testing.T) {
	t.Parallel()
	h := new(history)
	h.begin(t, false)
	h.activity("ship")
	h.activity("ship")
	h.end()
	for _, config := range []Config{{}, {Require: true}} {
		if err := replay(t, config, h); err != nil {
			t.Errorf("%+v: %v", config, err)
		}
	}
}

// What doc.go warns of: the test of the tests above, which must be able to fail.
func TestAWorkflowWithABarrierThatBeganUnguardedIsNotReplayed(t *testing.T) {
	t.Parallel()
	h := new(history)
	h.begin(t, true)
	h.activity("ship")
	h.activity("ship")
	h.end()
	if err := replay(t, Config{}, h); err == nil {
		t.Error("it is replayed, though it has another first step")
	}
}
