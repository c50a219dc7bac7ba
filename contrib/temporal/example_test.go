package guardtemporal_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/pgbarrier/pgbarrier"
	guardtemporal "github.com/pgbarrier/pgbarrier/contrib/temporal"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

// The application has opened these.
var (
	pool     *pgxpool.Pool
	barriers *listener.Listener
)

// Ship is a workflow. It finds the order, whose transaction has committed when it begins.
func Ship(ctx workflow.Context, order int) (status string, err error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	err = workflow.ExecuteActivity(ctx, Status, order).Get(ctx, &status)
	return status, err
}

// Status is an activity.
func Status(ctx context.Context, order int) (status string, err error) {
	err = pool.QueryRow(ctx, "SELECT status FROM orders WHERE id = $1", order).Scan(&status)
	return status, err
}

// An order is written, and its workflow is started, in one transaction. Here both run in the SDK's test environment,
// where client.ExecuteWorkflow is what start does: it puts the barrier into the header.
func Example() {
	for order, failure := range []error{nil, errors.New("out of stock")} {
		var token pgbarrier.Token
		start := func(ctx context.Context) (err error) {
			token, _, err = notify.Current(ctx)
			return err
		}
		err := notify.BeginFunc(context.Background(), pool, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1, 'paid')", order); err != nil {
				return err
			}
			if err := start(ctx); err != nil {
				return err
			}
			return failure
		})
		fmt.Println("transaction:", err)

		status, err := runWorkflow(token, order)
		fmt.Printf("workflow: %q, rolled back: %v\n", status, guardtemporal.IsAborted(err))
	}
	// Output:
	// transaction: <nil>
	// workflow: "paid", rolled back: false
	// transaction: out of stock
	// workflow: "", rolled back: true
}

func runWorkflow(token pgbarrier.Token, order int) (status string, err error) {
	g, err := guard.New(barriers, guard.Config{})
	if err != nil {
		return "", err
	}
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{
		guardtemporal.NewInterceptor(guardtemporal.Config{}), // an application gives it to its client
	}})
	guardtemporal.Register(env, g)
	env.RegisterActivity(Status)
	payload, err := converter.GetDefaultDataConverter().ToPayload(token.String())
	if err != nil {
		return "", err
	}
	env.SetHeader(&commonpb.Header{Fields: map[string]*commonpb.Payload{guard.Header: payload}})
	env.ExecuteWorkflow(Ship, order)
	if err := env.GetWorkflowError(); err != nil {
		return "", err
	}
	err = env.GetWorkflowResult(&status)
	return status, err
}

func init() {
	guardtemporal.ForExample = func(p *pgxpool.Pool, l *listener.Listener) { pool, barriers = p, l }
}
