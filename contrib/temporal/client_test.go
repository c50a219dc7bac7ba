package guardtemporal

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"google.golang.org/grpc"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/notify"
)

// A frontend is a server that takes starts of workflows, and does nothing about them.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer

	mu      sync.Mutex
	ids     []string
	headers []*commonpb.Header
}

func (f *frontend) started(id string, header *commonpb.Header) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids = append(f.ids, id)
	f.headers = append(f.headers, header)
}

func (f *frontend) StartWorkflowExecution(_ context.Context, r *workflowservice.StartWorkflowExecutionRequest) (*workflowservice.StartWorkflowExecutionResponse, error) {
	f.started(r.WorkflowId, r.Header)
	return &workflowservice.StartWorkflowExecutionResponse{RunId: "run"}, nil
}

func (f *frontend) SignalWithStartWorkflowExecution(_ context.Context, r *workflowservice.SignalWithStartWorkflowExecutionRequest) (*workflowservice.SignalWithStartWorkflowExecutionResponse, error) {
	f.started(r.WorkflowId, r.Header)
	return &workflowservice.SignalWithStartWorkflowExecutionResponse{RunId: "run"}, nil
}

// connect returns a client of a frontend of its own.
func connect(t *testing.T, config Config) (*frontend, client.Client) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, s := new(frontend), grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(s, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	c, err := client.NewLazyClient(client.Options{
		HostPort: l.Addr().String(), Logger: silent, Interceptors: []interceptor.ClientInterceptor{NewInterceptor(config)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Stop()
		<-done
	})
	return f, c
}

// transaction returns a context in which workflows are started with a barrier.
func transaction(t *testing.T) (context.Context, pgbarrier.Token) {
	token := guardtest.NewToken()
	return notify.WithCreate(t.Context(), func(context.Context) (pgbarrier.Token, error) { return token, nil }), token
}

// start starts a workflow for an order.
func start(ctx context.Context, t *testing.T, c client.Client) string {
	t.Helper()
	id, err := WorkflowID(ctx, "order-42")
	if err != nil {
		t.Fatal(err)
	}
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: "orders"}, "Ship", 42)
	if err != nil {
		t.Fatal(err)
	}
	return run.GetID()
}

func TestAStartCarriesTheTransactionsBarrier(t *testing.T) {
	t.Parallel()
	f, c := connect(t, Config{})
	ctx, token := transaction(t)
	id := start(ctx, t, c)
	if _, err := c.SignalWithStartWorkflow(ctx, id, "paid", nil, client.StartWorkflowOptions{TaskQueue: "orders"}, "Ship"); err != nil {
		t.Fatal(err)
	}
	if id := start(t.Context(), t, c); id != "order-42" {
		t.Errorf("outside of a transaction the id is %q", id)
	}
	if len(f.headers) != 3 {
		t.Fatalf("%d workflows were started, want 3", len(f.headers))
	}
	for _, header := range f.headers[:2] {
		guardtest.Carries(t, headers(header.GetFields()), token)
	}
	guardtest.CarriesNone(t, headers(f.headers[2].GetFields()))
}

// With the bare business id the second try would be told that the first runs, which rolled back.
func TestATransactionThatIsTriedAgainStartsAWorkflowOfItsOwn(t *testing.T) {
	t.Parallel()
	f, c := connect(t, Config{})
	first, lost := transaction(t)
	second, token := transaction(t)
	start(first, t, c)
	start(second, t, c)
	start(second, t, c) // the answer was lost: the server takes this for the same
	want := []string{guard.DedupID("order-42", lost), guard.DedupID("order-42", token), guard.DedupID("order-42", token)}
	for i, id := range f.ids {
		if id != want[i] {
			t.Errorf("start %d has the id %q, want %q", i+1, id, want[i])
		}
	}
	_, err := c.ExecuteWorkflow(second, client.StartWorkflowOptions{ID: "order-42", TaskQueue: "orders"}, "Ship", 42)
	if !errors.Is(err, ErrWorkflowID) || len(f.ids) != 3 {
		t.Errorf("with the bare id ExecuteWorkflow returned %v", err)
	}
	// The SDK's own id cannot be told from an order's that is a UUID too.
	_, err = c.ExecuteWorkflow(second, client.StartWorkflowOptions{TaskQueue: "orders"}, "Ship", 42)
	if !errors.Is(err, ErrWorkflowID) || len(f.ids) != 3 {
		t.Errorf("without an id ExecuteWorkflow returned %v", err)
	}
	_, err = c.SignalWithStartWorkflow(second, "order-42", "paid", nil, client.StartWorkflowOptions{TaskQueue: "orders"}, "Ship")
	if !errors.Is(err, ErrWorkflowID) || len(f.ids) != 3 {
		t.Errorf("with the bare id SignalWithStartWorkflow returned %v", err)
	}
	f, c = connect(t, Config{AnyID: true})
	if _, err := c.ExecuteWorkflow(second, client.StartWorkflowOptions{ID: "try-2", TaskQueue: "orders"}, "Ship", 42); err != nil {
		t.Fatal(err)
	}
	guardtest.Carries(t, headers(f.headers[0].GetFields()), token)
}

// The update would wait for a workflow that waits for the COMMIT.
func TestAnUpdateWithStartIsRefusedInATransaction(t *testing.T) {
	t.Parallel()
	_, c := connect(t, Config{})
	inside, _ := transaction(t)
	update := func(ctx context.Context) error {
		_, err := c.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
			StartWorkflowOperation: c.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
				ID: "order-42", TaskQueue: "orders", WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			}, "Ship"),
			UpdateOptions: client.UpdateWorkflowOptions{WorkflowID: "order-42", UpdateName: "pay", WaitForStage: client.WorkflowUpdateStageAccepted},
		})
		return err
	}
	if err := update(inside); !errors.Is(err, ErrUpdateWithStart) {
		t.Errorf("inside of a transaction it returned %v", err)
	}
	if err := update(t.Context()); err == nil || errors.Is(err, ErrUpdateWithStart) { // the server has no such method
		t.Errorf("outside of a transaction it returned %v", err)
	}
}

// No barrier, no start.
func TestAStartWithoutTheBarrierThatItNeedsIsAnError(t *testing.T) {
	t.Parallel()
	f, c := connect(t, Config{})
	ended := errors.New("the transaction has ended")
	ctx := notify.WithCreate(t.Context(), func(context.Context) (pgbarrier.Token, error) { return pgbarrier.Token{}, ended })
	_, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: "orders"}, "Ship", 42)
	if !errors.Is(err, ended) || len(f.ids) != 0 {
		t.Errorf("ExecuteWorkflow returned %v, %d workflows were started", err, len(f.ids))
	}
	if _, err := WorkflowID(ctx, "order-42"); !errors.Is(err, ended) {
		t.Errorf("WorkflowID returned %v", err)
	}
}
