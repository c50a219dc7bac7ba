package guardtemporal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/notify"
)

// WorkflowID joins a business id with that of the barrier of the context's transaction, see guard.DedupID. Outside of a
// transaction it is the business id.
func WorkflowID(ctx context.Context, business string) (string, error) {
	token, _, err := notify.Current(ctx)
	if err != nil {
		return "", err
	}
	return guard.DedupID(business, token), nil
}

// ErrWorkflowID: a workflow was to be started in a transaction, under an id that another try would have as well.
var ErrWorkflowID = errors.New("pgbarrier: temporal: the id lacks the barrier's: make it with WorkflowID")

// ErrUpdateWithStart: it was called in a transaction, for whose COMMIT the update would wait.
var ErrUpdateWithStart = errors.New("pgbarrier: temporal: UpdateWithStartWorkflow in a transaction waits for itself")

// InterceptClient implements interceptor.ClientInterceptor.
func (r *root) InterceptClient(next interceptor.ClientOutboundInterceptor) interceptor.ClientOutboundInterceptor {
	i := &clientOutbound{root: r}
	i.Next = next
	return i
}

type clientOutbound struct {
	interceptor.ClientOutboundInterceptorBase
	root *root
}

func (i *clientOutbound) ExecuteWorkflow(ctx context.Context, in *interceptor.ClientExecuteWorkflowInput) (client.WorkflowRun, error) {
	if err := i.root.inject(ctx, in.Options); err != nil {
		return nil, err
	}
	return i.Next.ExecuteWorkflow(ctx, in)
}

func (i *clientOutbound) SignalWithStartWorkflow(ctx context.Context, in *interceptor.ClientSignalWithStartWorkflowInput) (client.WorkflowRun, error) {
	if err := i.root.inject(ctx, in.Options); err != nil {
		return nil, err
	}
	return i.Next.SignalWithStartWorkflow(ctx, in)
}

func (i *clientOutbound) UpdateWithStartWorkflow(ctx context.Context, in *interceptor.ClientUpdateWithStartWorkflowInput) (client.WorkflowUpdateHandle, error) {
	if _, inside, err := notify.Current(ctx); inside || err != nil {
		return nil, ErrUpdateWithStart
	}
	return i.Next.UpdateWithStartWorkflow(ctx, in)
}

// inject puts the barrier of the context's transaction into the header of a start.
func (r *root) inject(ctx context.Context, options *client.StartWorkflowOptions) error {
	token, inside, err := notify.Current(ctx)
	if err != nil || !inside {
		return err
	}
	// Where none was given, the SDK has put a random UUID here already: it looks as a business id may look.
	if !r.config.AnyID && !strings.Contains(options.ID, token.ID.String()) {
		return fmt.Errorf("%w: %s", ErrWorkflowID, options.ID)
	}
	return notify.Inject(ctx, headers(interceptor.Header(ctx)))
}
