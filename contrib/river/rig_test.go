package guardriver

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// newName returns one for a queue that no other test has.
func newName() string { return strings.ToLower(rand.Text()[:10]) }

// A rig is a guarded client with a queue of its own.
type rig struct {
	testing.TB
	queue  string
	pool   *pgxpool.Pool
	guard  *guard.Guard
	client *river.Client[pgx.Tx]
	stop   func() // ends the worker's context, and then the client

	mu     sync.Mutex
	runs   []string // ids that the handler got
	heard  []error  // by the user's ErrorHandler
	laters int      // verdicts
	handle func(ctx context.Context, job *river.Job[jobArgs]) error
}

func startRig(t testing.TB, w guard.Waiter, config guard.Config, change ...func(*river.Config)) *rig {
	t.Helper()
	r := &rig{TB: t, queue: newName(), pool: open(t, riverURL)}
	r.handle = func(context.Context, *river.Job[jobArgs]) error { return nil }
	config.Observe = func(_ context.Context, d guard.Decision) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if d.Verdict == guard.Later {
			r.laters++
		}
	}
	g, err := guard.New(w, config)
	if err != nil {
		t.Fatal(err)
	}
	r.guard = g
	cfg := workerConfig(r.queue, 4, func(ctx context.Context, job *river.Job[jobArgs]) error {
		r.mu.Lock()
		r.runs = append(r.runs, job.Args.ID)
		handle := r.handle
		r.mu.Unlock()
		return handle(ctx, job)
	})
	cfg.ErrorHandler = r
	for _, c := range change {
		c(cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if r.client, err = startClient(ctx, r.pool, g, cfg); err != nil {
		cancel()
		t.Fatal(err)
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := r.client.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// HandleError is River's ErrorHandler.
func (r *rig) HandleError(_ context.Context, _ *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, err)
	return nil
}

// HandlePanic is River's ErrorHandler.
func (r *rig) HandlePanic(_ context.Context, _ *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	r.Errorf("a panic: %v\n%s", value, trace)
	return nil
}

// send inserts a job with a new barrier.
func (r *rig) send(id string, opts river.InsertOpts) (pgbarrier.Token, int64) {
	r.Helper()
	token := guardtest.NewToken()
	opts.Metadata = encode(fields{guard.Header: []byte(`"` + token.String() + `"`)})
	return token, r.insert(id, opts)
}

func (r *rig) insert(id string, opts river.InsertOpts) int64 {
	r.Helper()
	opts.Queue = r.queue
	result, err := r.client.Insert(r.Context(), jobArgs{ID: id}, &opts)
	if err != nil {
		r.Fatal(err)
	}
	return result.Job.ID
}

func (r *rig) job(id int64) *rivertype.JobRow {
	r.Helper()
	job, err := r.client.JobGet(r.Context(), id)
	if err != nil {
		r.Fatal(err)
	}
	return job
}

func (r *rig) untilState(id int64, state rivertype.JobState) *rivertype.JobRow {
	r.Helper()
	var job *rivertype.JobRow
	r.until("the job is "+string(state), func() bool {
		job = r.job(id)
		return job.State == state
	})
	return job
}

func (r *rig) count(state rivertype.JobState) (jobs int) {
	r.Helper()
	if err := r.pool.QueryRow(r.Context(), "SELECT count(*) FROM river_job WHERE queue = $1 AND state::text = $2", r.queue, state).Scan(&jobs); err != nil {
		r.Fatal(err)
	}
	return jobs
}

func (r *rig) until(what string, condition func() bool) {
	r.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.Fatalf("it did not come that %s; %q ran, %d verdicts were later, heard %v", what, r.runs, r.laters, r.heard)
		}
	}
}

func (r *rig) untilLaters(n int) {
	r.Helper()
	r.until("jobs were snoozed", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.laters >= n
	})
}

// handles says what the handler does from now on.
func (r *rig) handles(f func(ctx context.Context, job *river.Job[jobArgs]) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handle = f
}

func (r *rig) ran(want ...string) {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.runs, want) {
		r.Errorf("%q ran, want %q", r.runs, want)
	}
}

// heardNothing checks that the user's ErrorHandler was told nothing.
func (r *rig) heardNothing() {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.heard) > 0 {
		r.Errorf("ErrorHandler was told %v", r.heard)
	}
}
