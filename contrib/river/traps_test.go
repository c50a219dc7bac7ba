package guardriver

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

func inAnHour(time.Duration) time.Duration { return time.Hour }

func verdictOf(t *testing.T, job *rivertype.JobRow) (verdict string) {
	t.Helper()
	var metadata map[string]any
	if err := json.Unmarshal(job.Metadata, &metadata); err != nil {
		t.Fatal(err)
	}
	verdict, _ = metadata[VerdictKey].(string)
	return verdict
}

func TestARollbackIsNoFailure(t *testing.T) {
	t.Parallel()
	w := new(guardtest.Waiter)
	r := startRig(t, w, guard.Config{})
	token, id := r.send("a", river.InsertOpts{MaxAttempts: 1})
	w.Abort(token)
	job := r.untilState(id, rivertype.JobStateCancelled)
	if verdict := verdictOf(t, job); verdict != "drop" {
		t.Errorf("the job's verdict is %q", verdict)
	}
	r.ran()
	r.heardNothing()
}

func TestWhatNeverWillRunIsCancelledAndCanBeFound(t *testing.T) {
	t.Parallel()
	for required, bad := range map[bool][]string{
		true:  {`{}`},
		false: {`{"pgbarrier": "x"}`, `{"pgbarrier": 7}`, `{"pgbarrier": null}`, `{"pgbarrier": ""}`, `{"pgbarrier": ["a"]}`},
	} {
		r := startRig(t, new(guardtest.Waiter), guard.Config{Require: required})
		for _, metadata := range bad {
			// With no client's middleware in between, as another program inserts.
			var id int64
			if err := r.pool.QueryRow(t.Context(), `INSERT INTO river_job (kind, args, queue, metadata, max_attempts)
				VALUES ('guardtest', '{"id": "a"}', $1, $2, 1) RETURNING id`, r.queue, metadata).Scan(&id); err != nil {
				t.Fatal(err)
			}
			job := r.untilState(id, rivertype.JobStateCancelled)
			if verdict := verdictOf(t, job); verdict != "reject" || len(job.Errors) != 1 {
				t.Errorf("with metadata %s the job's verdict is %q, and its errors %v", metadata, verdict, job.Errors)
			}
		}
		r.ran()
		r.heardNothing()
	}
}

func TestATransactionLongerThanTheBudgetBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	w := new(guardtest.Waiter)
	r := startRig(t, w, guard.Config{Budget: time.Millisecond, Delay: func(time.Duration) time.Duration { return time.Millisecond }})
	errOwn := errors.New("the handler fails")
	r.handles(func(_ context.Context, job *river.Job[jobArgs]) error {
		if job.MaxAttempts > job.Attempt {
			return errOwn
		}
		return nil
	})
	only, onlyID := r.send("only", river.InsertOpts{MaxAttempts: 1})
	r.untilLaters(4)
	w.Commit(only)
	r.untilState(onlyID, rivertype.JobStateCompleted)

	two, twoID := r.send("two", river.InsertOpts{MaxAttempts: 2})
	r.untilLaters(8)
	w.Commit(two)
	for id, attempts := range map[int64]int{onlyID: 1, twoID: 2} {
		job := r.untilState(id, rivertype.JobStateCompleted)
		if job.Attempt != attempts || job.MaxAttempts != attempts || len(job.Errors) != attempts-1 {
			t.Errorf("it took attempt %d of %d, with the errors %v", job.Attempt, job.MaxAttempts, job.Errors)
		}
	}
	r.ran("only", "two", "two")
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.heard) != 1 || !errors.Is(r.heard[0], errOwn) {
		t.Errorf("ErrorHandler was told %v", r.heard)
	}
}

// Neither the delay nor the next poll would run it within the test.
func TestASnoozedJobIsHastenedWhenItsTransactionEnds(t *testing.T) {
	t.Parallel()
	w := new(guardtest.Waiter)
	r := startRig(t, w, guard.Config{Budget: time.Millisecond, Delay: inAnHour}, func(cfg *river.Config) {
		cfg.FetchPollInterval = time.Hour
	})
	committed, kept := r.send("committed", river.InsertOpts{MaxAttempts: 1})
	aborted, lost := r.send("aborted", river.InsertOpts{MaxAttempts: 1})
	for _, id := range []int64{kept, lost} {
		r.untilState(id, rivertype.JobStateScheduled)
	}
	w.Commit(committed)
	w.Abort(aborted)
	if job := r.untilState(kept, rivertype.JobStateCompleted); job.Attempt != 1 || job.MaxAttempts != 1 {
		t.Errorf("it took attempt %d of %d", job.Attempt, job.MaxAttempts)
	}
	r.untilState(lost, rivertype.JobStateCancelled)
	r.ran("committed")
	r.heardNothing()
}

func TestWhatHasRunMeanwhileIsNotHastened(t *testing.T) {
	t.Parallel()
	r := startRig(t, new(guardtest.Waiter), guard.Config{}, func(cfg *river.Config) { cfg.RetryPolicy = later{} })
	errOwn := errors.New("the handler fails")
	fetched := make(map[string]rivertype.JobRow) // guarded by r.mu
	r.handles(func(_ context.Context, job *river.Job[jobArgs]) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		fetched[job.Args.ID] = *job.JobRow
		switch job.Args.ID {
		case "completed":
			return nil
		case "cancelled":
			return river.JobCancel(errOwn)
		case "snoozed again":
			return river.JobSnooze(time.Hour)
		}
		return errOwn
	})
	w := &worker{pool: r.pool}
	for id, state := range map[string]rivertype.JobState{
		"completed": rivertype.JobStateCompleted, "cancelled": rivertype.JobStateCancelled,
		"discarded": rivertype.JobStateDiscarded, "retryable": rivertype.JobStateRetryable,
		"snoozed again": rivertype.JobStateScheduled,
	} {
		attempts := 2
		if id == "discarded" {
			attempts = 1
		}
		job := r.untilState(r.insert(id, river.InsertOpts{MaxAttempts: attempts}), state)
		r.mu.Lock()
		snoozed := fetched[id]
		r.mu.Unlock()
		if id == "snoozed again" {
			earlier := snoozed.AttemptedAt.Add(-time.Second) // an earlier run of it was ours
			snoozed.AttemptedAt = &earlier
		}
		if err := w.retry(t.Context(), r.client, &snoozed); err != nil {
			t.Errorf("%s: it would be tried again: %v", id, err)
		}
		if after := r.job(job.ID); after.State != state || !after.ScheduledAt.Equal(job.ScheduledAt) {
			t.Errorf("%s: it became %v, at %v", id, after.State, after.ScheduledAt)
		}
	}
	if err := w.retry(t.Context(), r.client, &rivertype.JobRow{ID: 1 << 40}); err != nil {
		t.Errorf("of a job that is gone: %v", err)
	}
}

// later is never within the test.
type later struct{}

func (later) NextRetry(*rivertype.JobRow) time.Time { return time.Now().Add(time.Hour) }

func TestAJobIsNotHastenedBeforeItIsSnoozed(t *testing.T) {
	t.Parallel()
	r := startRig(t, new(guardtest.Waiter), guard.Config{})
	release := make(chan struct{})
	running := make(chan rivertype.JobRow, 1)
	r.handles(func(_ context.Context, job *river.Job[jobArgs]) error {
		running <- *job.JobRow
		<-release
		return nil
	})
	id := r.insert("a", river.InsertOpts{})
	job := <-running
	err := (&worker{pool: r.pool}).retry(t.Context(), r.client, &job)
	close(release)
	if !errors.Is(err, errRunning) {
		t.Errorf("while it is running: %v", err)
	}
	r.untilState(id, rivertype.JobStateCompleted)
	r.ran("a")
}

func TestAClientThatStopsBurnsNoAttemptOfWhatWaits(t *testing.T) {
	t.Parallel()
	stops := map[string]func(r *rig){
		"softly": func(r *rig) { r.stop() },
		"hard": func(r *rig) {
			if err := r.client.StopAndCancel(context.Background()); err != nil {
				r.Error(err)
			}
		},
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := new(guardtest.Waiter)
			r := startRig(t, w, guard.Config{Budget: time.Hour})
			_, id := r.send("a", river.InsertOpts{MaxAttempts: 1})
			if err := w.UntilWaiting(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			stop(r)
			job := r.job(id)
			if job.Attempt != 0 || len(job.Errors) > 0 || job.State != rivertype.JobStateAvailable && job.State != rivertype.JobStateScheduled {
				t.Errorf("the job is left as %+v", job)
			}
			// A client that is not stopped yet would fetch it again and again.
			if pause := job.ScheduledAt.Sub(*job.AttemptedAt); pause < 500*time.Millisecond {
				t.Errorf("the job comes again after %v", pause)
			}
			r.ran()
			r.heardNothing()
		})
	}
}

// As programs stop that give Start the context of signal.NotifyContext.
func TestAClientWhoseStartContextEndsBurnsNoAttemptOfWhatWaits(t *testing.T) {
	t.Parallel()
	w := new(guardtest.Waiter)
	r := startRig(t, w, guard.Config{Budget: time.Hour})
	r.stop()
	cfg := workerConfig(r.queue, 4, func(context.Context, *river.Job[jobArgs]) error { return nil })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client, err := startClientWith(context.Background(), ctx, r.pool, r.guard, cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, id := r.send("a", river.InsertOpts{MaxAttempts: 1})
	if err := w.UntilWaiting(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-client.Stopped()
	if job := r.job(id); job.Attempt != 0 || len(job.Errors) > 0 || job.State != rivertype.JobStateAvailable {
		t.Errorf("the job is left as %+v", job)
	}
}

func TestAJobThatIsCancelledWhileItWaitsIsGone(t *testing.T) {
	t.Parallel()
	w := new(guardtest.Waiter)
	r := startRig(t, w, guard.Config{Budget: time.Hour})
	token, id := r.send("a", river.InsertOpts{})
	if err := w.UntilWaiting(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.JobCancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	job := r.untilState(id, rivertype.JobStateCancelled)
	if verdict := verdictOf(t, job); verdict != "" {
		t.Errorf("the job's verdict is %q, and it was not the guard's", verdict)
	}
	w.Commit(token)
	r.untilState(r.insert("fence", river.InsertOpts{}), rivertype.JobStateCompleted)
	r.ran("fence")
	r.heardNothing()
}

func TestTheWaitIsNotTheWorkersTime(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	w := new(guardtest.Waiter)
	r := startRig(t, w, guard.Config{Budget: time.Hour}, func(cfg *river.Config) { cfg.JobTimeout = timeout })
	left := make(chan time.Duration, 1)
	r.handles(func(ctx context.Context, _ *river.Job[jobArgs]) error {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		return nil
	})
	token, _ := r.send("a", river.InsertOpts{MaxAttempts: 1})
	if err := w.UntilWaiting(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * timeout) // which River would have ended by now
	w.Commit(token)
	if left := <-left; left <= 0 {
		t.Errorf("the worker began when its time was over since %v", -left)
	}
}

// A plugin of the application's that sees a job sees one that is worked.
func TestTheGuardStandsBeforeTheApplicationsPlugins(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	see := func(_ context.Context, job *rivertype.JobRow, doInner func(context.Context) error) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, string(job.EncodedArgs))
		return nil
	}
	w := new(guardtest.Waiter)
	r := startRig(t, w, guard.Config{Budget: time.Millisecond, Delay: inAnHour}, func(cfg *river.Config) {
		cfg.Plugins = []rivertype.Plugin{river.WorkerMiddlewareFunc(see)}
		cfg.Middleware = []rivertype.Middleware{river.WorkerMiddlewareFunc(see)}
	})
	aborted, dropped := r.send("dropped", river.InsertOpts{})
	w.Abort(aborted)
	r.untilState(dropped, rivertype.JobStateCancelled)
	_, pending := r.send("pending", river.InsertOpts{})
	r.untilState(pending, rivertype.JobStateScheduled)
	mu.Lock()
	defer mu.Unlock()
	if len(seen) > 0 {
		t.Errorf("they saw %q", seen)
	}
}
