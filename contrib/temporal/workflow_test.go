package guardtemporal

import (
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// The guard is asked once, at the start, and not for each of the workflow's activities.
func TestACommittedWorkflowBegins(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{}, guard.Config{})
	first, second := guardtest.NewToken(), guardtest.NewToken()
	r.barriers.Commit(first, second)
	r.carry(first, second)
	r.begins(true, 1)
	if tokens := r.decisions[0].Tokens; len(tokens) != 2 {
		t.Errorf("the guard was asked about %v, want two", tokens)
	}
}

// It is no failure that anybody is told of.
func TestAWorkflowWhoseTransactionRolledBackDoesNotBegin(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{}, guard.Config{})
	token := guardtest.NewToken()
	r.barriers.Abort(token)
	r.carry(token)
	r.begins(false, 1)
	r.fails(TypeAborted, true)
}

// Attempts find it pending, each after the guard's delay and not the retry policy's. There is no limit to them, but the test
// environment sets one of 10.
func TestAPendingWorkflowBeginsAfterItsCommit(t *testing.T) {
	t.Parallel()
	const attempts, delay = 9, 7 * time.Second
	r := newRig(t, Config{}, guard.Config{Delay: func(time.Duration) time.Duration { return delay }})
	token := guardtest.NewToken()
	r.observe = func(guard.Decision) {
		if len(r.decisions) == attempts {
			r.barriers.Commit(token)
		}
	}
	r.carry(token)
	began := r.Now()
	r.begins(true, attempts+1)
	if took := r.Now().Sub(began).Round(time.Second); took != attempts*delay {
		t.Errorf("%d attempts took %v, want %v", attempts, took, attempts*delay)
	}
}

func TestAPendingWorkflowIsDroppedAfterItsRollback(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{}, guard.Config{})
	token := guardtest.NewToken()
	r.observe = func(guard.Decision) {
		if len(r.decisions) == 3 {
			r.barriers.Abort(token)
		}
	}
	r.carry(token)
	r.begins(false, 4)
	r.fails(TypeAborted, true)
}

func TestAWorkflowThatCannotBeDecidedIsRejected(t *testing.T) {
	t.Parallel()
	token := guardtest.NewToken()
	for what, start := range map[string]func(*rig){
		"expired":   func(r *rig) { r.barriers.Set(pgbarrier.Expired, token); r.carry(token) },
		"foreign":   func(r *rig) { r.barriers.Origin = token.Origin + 1; r.carry(token) },
		"malformed": func(r *rig) { r.carryText("nothing like a token") },
		"empty":     func(r *rig) { r.carryText("") },
		"no text":   func(r *rig) { r.carryText(42) },
		"given up":  func(r *rig) { r.carry(guardtest.OldToken(time.Hour)) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Config{}, guard.Config{GiveUp: time.Minute})
			start(r)
			r.begins(false, 1)
			r.fails(TypeRejected, false)
		})
	}
}

// It costs no activity.
func TestAWorkflowWithoutABarrierBegins(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{}, guard.Config{Require: true})
	r.begins(true, 0)
}

func TestAWorkflowWithoutABarrierIsRejectedWhereOneIsRequired(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{Require: true}, guard.Config{})
	r.begins(false, 0)
	r.fails(TypeRejected, false)
}

// What follows from a workflow that has begun needs no barrier of its own.
func TestWhatAWorkflowStartsNeedsNoBarrier(t *testing.T) {
	t.Parallel()
	token := guardtest.NewToken()
	t.Run("a child", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Config{Require: true}, guard.Config{})
		r.barriers.Commit(token)
		r.carry(token)
		r.RegisterWorkflow(r.ship)
		r.ExecuteWorkflow(func(ctx workflow.Context) error {
			return workflow.ExecuteChildWorkflow(ctx, r.ship).Get(ctx, nil)
		})
		if err := r.GetWorkflowError(); err != nil || r.begun != 1 || len(r.decisions) != 1 {
			t.Errorf("the child began %d times, the guard decided %d times: %v", r.begun, len(r.decisions), err)
		}
	})
	t.Run("a run that continues another", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Config{Require: true}, guard.Config{})
		r.SetContinuedExecutionRunID("the one before")
		r.begins(true, 0)
	})
	t.Run("a run of a schedule after a completed one", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, Config{}, guard.Config{})
		r.barriers.Set(pgbarrier.Expired, token) // it was purged since
		r.carry(token)
		r.SetLastCompletionResult("done")
		r.begins(true, 0)
	})
}
