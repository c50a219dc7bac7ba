package guardtemporal

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// asked returns what the activity ends with.
func asked(t *testing.T, config guard.Config, tokens string, set func(*guardtest.Waiter)) (failed *temporal.ApplicationError) {
	t.Helper()
	var barriers guardtest.Waiter
	set(&barriers)
	g, err := guard.New(&barriers, config)
	if err != nil {
		t.Fatal(err)
	}
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(silent)
	env := suite.NewTestActivityEnvironment()
	Register(env, g)
	_, err = env.ExecuteActivity(ActivityName, tokens)
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("the activity ended with %v", err)
	}
	return failed
}

func TestEachVerdictIsAnErrorOfItsOwn(t *testing.T) {
	t.Parallel()
	token := guardtest.NewToken()
	set := func(status pgbarrier.Status) func(*guardtest.Waiter) {
		return func(w *guardtest.Waiter) { w.Set(status, token) }
	}
	if err := asked(t, guard.Config{}, token.String(), set(pgbarrier.Committed)); err != nil {
		t.Errorf("committed: %v", err)
	}
	for what, test := range map[string]struct {
		config       guard.Config
		status       pgbarrier.Status
		tokens       string
		errType      string
		nonRetryable bool
		benign       bool
		delay        time.Duration
	}{
		"aborted":           {guard.Config{}, pgbarrier.Aborted, token.String(), TypeAborted, true, true, 0},
		"aborted, to keep":  {guard.Config{Aborted: guard.Reject}, pgbarrier.Aborted, token.String(), TypeRejected, true, false, 0},
		"pending":           {guard.Config{Budget: 1}, pgbarrier.Pending, token.String(), TypePending, false, true, time.Second},
		"pending, at once":  {guard.Config{Budget: 1, Delay: func(time.Duration) time.Duration { return 0 }}, pgbarrier.Pending, token.String(), TypePending, false, true, atOnce},
		"pending, given up": {guard.Config{GiveUp: 1}, pgbarrier.Pending, token.String(), TypeRejected, true, false, 0},
		"expired":           {guard.Config{}, pgbarrier.Expired, token.String(), TypeRejected, true, false, 0},
		"foreign":           {guard.Config{}, pgbarrier.WrongDatabase, token.String(), TypeRejected, true, false, 0},
		"malformed":         {guard.Config{}, pgbarrier.Committed, token.String()[1:], TypeRejected, true, false, 0},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			err := asked(t, test.config, test.tokens, set(test.status))
			if err == nil {
				t.Fatal("the activity succeeded")
			}
			if err.Type() != test.errType || err.NonRetryable() != test.nonRetryable || err.NextRetryDelay() != test.delay {
				t.Errorf("it failed with type %s, not retryable %v, again after %v", err.Type(), err.NonRetryable(), err.NextRetryDelay())
			}
			if benign := err.Category() == temporal.ApplicationErrorCategoryBenign; benign != test.benign {
				t.Errorf("benign is %v", benign)
			}
		})
	}
}

// A worker that stops ends the contexts of its activities: another one may have them at once.
func TestAWorkerThatStopsGivesItsActivitiesBack(t *testing.T) {
	t.Parallel()
	var barriers guardtest.Waiter
	g, err := guard.New(&barriers, guard.Config{Budget: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- decide(ctx, g, guardtest.NewToken().String()) }()
	if err := barriers.UntilWaiting(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	stop()
	var failed *temporal.ApplicationError
	if err := <-ended; !errors.As(err, &failed) || failed.NonRetryable() || failed.NextRetryDelay() != atOnce {
		t.Errorf("the activity ended with %v", err)
	}
}
