package guardasynq

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// bench is a server on the shared redis, with a double for the database.
type bench struct {
	*testing.T
	barriers  guardtest.Waiter
	queue     string
	rdb       *redis.Client
	client    *asynq.Client
	inspector *asynq.Inspector
	stop      func() // ends the worker's context, and then the server

	mu     sync.Mutex
	runs   []string // payloads that the handler got
	heard  []error  // by the user's ErrorHandler
	laters int      // verdicts
	result func(run int) error
}

func start(t *testing.T, config guard.Config, cfg asynq.Config) *bench {
	t.Helper()
	b := &bench{T: t, queue: strings.ToLower(rand.Text()[:10]), rdb: redis.NewClient(&redis.Options{Addr: broker.Address})}
	b.client, b.inspector = asynq.NewClientFromRedisClient(b.rdb), asynq.NewInspectorFromRedisClient(b.rdb)
	config.Observe = func(_ context.Context, d guard.Decision) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if d.Verdict == guard.Later {
			b.laters++
		}
	}
	g, err := guard.New(&b.barriers, config)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Concurrency, cfg.Queues = 4, map[string]int{b.queue: 1}
	cfg.ErrorHandler = asynq.ErrorHandlerFunc(func(_ context.Context, _ *asynq.Task, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.heard = append(b.heard, err)
	})
	ctx, cancel := context.WithCancel(context.Background())
	srv, middleware, err := newServer(ctx, b.rdb, g, cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := asynq.NewServeMux()
	mux.Use(middleware)
	mux.HandleFunc("work", b.handle)
	if err := srv.Start(mux); err != nil {
		t.Fatal(err)
	}
	b.stop = sync.OnceFunc(func() {
		cancel()
		srv.Shutdown()
	})
	t.Cleanup(func() {
		b.stop()
		_ = b.rdb.Close()
	})
	return b
}

func (b *bench) handle(_ context.Context, task *asynq.Task) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs = append(b.runs, string(task.Payload()))
	if b.result != nil {
		return b.result(len(b.runs))
	}
	return nil
}

// send sends a task with a new barrier, and returns the barrier and the task's id.
func (b *bench) send(opts ...asynq.Option) (pgbarrier.Token, string) {
	b.Helper()
	token := guardtest.NewToken()
	return token, b.enqueue("a", token.String(), opts...)
}

func (b *bench) enqueue(payload, barrier string, opts ...asynq.Option) string {
	b.Helper()
	headers := map[string]string{}
	if barrier != "" {
		headers[guard.Header] = barrier
	}
	info, err := b.client.Enqueue(asynq.NewTaskWithHeaders("work", []byte(payload), headers, opts...), asynq.Queue(b.queue))
	if err != nil {
		b.Fatal(err)
	}
	return info.ID
}

// results says what the handler returns from now on.
func (b *bench) results(f func(run int) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.result = f
}

// heardNothing checks that the user's ErrorHandler was told nothing.
func (b *bench) heardNothing() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.heard) > 0 {
		b.Errorf("ErrorHandler was told %v", b.heard)
	}
}

func (b *bench) until(what string, condition func() bool) {
	b.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		b.mu.Lock()
		holds := condition()
		b.mu.Unlock()
		if holds {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("it did not come that %s; %q ran, %d verdicts were later, heard %v", what, b.runs, b.laters, b.heard)
		}
	}
}

// info returns nil if redis does not have the task.
func (b *bench) info(id string) *asynq.TaskInfo {
	info, err := b.inspector.GetTaskInfo(b.queue, id)
	if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) && !errors.Is(err, asynq.ErrQueueNotFound) {
		b.Fatal(err)
	}
	return info
}

func (b *bench) untilState(id string, state asynq.TaskState) *asynq.TaskInfo {
	b.Helper()
	var info *asynq.TaskInfo
	b.until("the task is "+state.String(), func() bool {
		info = b.info(id)
		return info != nil && info.State == state
	})
	return info
}

func (b *bench) ran(want ...string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.runs, want) {
		b.Errorf("%q ran, want %q", b.runs, want)
	}
}

func TestARollbackLeavesNothingOfATask(t *testing.T) {
	t.Parallel()
	b := start(t, guard.Config{}, asynq.Config{})
	token, id := b.send(asynq.TaskID("x"), asynq.Unique(time.Hour), asynq.Retention(time.Hour))
	b.barriers.Abort(token)
	b.until("the task is gone", func() bool { return b.info(id) == nil })
	stats, err := b.inspector.GetQueueInfo(b.queue)
	if err != nil || stats.Failed != 0 {
		t.Errorf("%d tasks are counted as failed, %v", stats.Failed, err)
	}
	again, id := b.send(asynq.TaskID("x"), asynq.Unique(time.Hour), asynq.Retention(time.Hour))
	b.barriers.Commit(again)
	b.untilState(id, asynq.TaskStateCompleted)
	b.ran("a")
	b.heardNothing()
}

func TestWhatIsHandedBackIsNoFailureToAnybody(t *testing.T) {
	t.Parallel()
	errOwn := errors.New("the handler fails")
	var asked, delays []error // guarded by b.mu
	var b *bench
	note := func(to *[]error, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		*to = append(*to, err)
	}
	started := make(chan struct{})
	b = start(t, guard.Config{Budget: time.Millisecond, Delay: func(time.Duration) time.Duration { return time.Hour }}, asynq.Config{
		IsFailure: func(err error) bool { <-started; note(&asked, err); return true },
		RetryDelayFunc: func(_ int, err error, _ *asynq.Task) time.Duration {
			<-started
			note(&delays, err)
			return 0
		},
	})
	close(started)
	b.results(func(run int) error {
		if run == 1 {
			return errOwn
		}
		return nil
	})
	token, id := b.send(asynq.MaxRetry(2), asynq.Retention(time.Hour))
	info := b.untilState(id, asynq.TaskStateRetry)
	if info.Retried != 0 || time.Until(info.NextProcessAt) < 50*time.Minute {
		t.Errorf("handed back, it was retried %d times, and comes at %v", info.Retried, info.NextProcessAt)
	}
	b.barriers.Commit(token) // which hastens it
	if info = b.untilState(id, asynq.TaskStateCompleted); info.Retried != 1 {
		t.Errorf("it was retried %d times", info.Retried)
	}
	b.ran("a", "a")
	b.mu.Lock()
	defer b.mu.Unlock()
	for what, got := range map[string][]error{"IsFailure": asked, "RetryDelayFunc": delays, "ErrorHandler": b.heard} {
		if len(got) != 1 || !errors.Is(got[0], errOwn) {
			t.Errorf("%s was told %v", what, got)
		}
	}
}

func TestATransactionLongerThanATasksTimeoutBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	for name, retries := range map[string]int{"on the first attempt": 1, "on the last attempt": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, guard.Config{Budget: time.Hour, Delay: func(time.Duration) time.Duration { return 0 }}, asynq.Config{})
			token, id := b.send(asynq.MaxRetry(retries), asynq.Timeout(4*time.Second), asynq.Retention(time.Hour))
			b.until("it was handed back twice", func() bool { return b.laters >= 2 })
			b.barriers.Commit(token)
			if info := b.untilState(id, asynq.TaskStateCompleted); info.Retried != 0 {
				t.Errorf("%d attempts were burnt", info.Retried)
			}
			b.ran("a")
			b.heardNothing()
		})
	}
}

func TestAServerThatStopsBurnsNoAttemptOfWhatWaits(t *testing.T) {
	t.Parallel()
	b := start(t, guard.Config{Budget: time.Hour}, asynq.Config{ShutdownTimeout: 300 * time.Millisecond})
	_, id := b.send(asynq.MaxRetry(1))
	_, last := b.send(asynq.MaxRetry(0))
	if err := b.barriers.UntilWaiting(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	b.stop()
	for _, id := range []string{id, last} {
		info := b.info(id)
		if info == nil || info.Retried != 0 || info.State != asynq.TaskStateRetry && info.State != asynq.TaskStatePending {
			t.Errorf("the task is left as %+v", info)
		}
	}
	b.ran()
	b.heardNothing()
}

// It does not sit in a worker until asynq's patience with the stop is over.
func TestAServerThatStopsHandsBackAtOnceWhatWaits(t *testing.T) {
	t.Parallel()
	b := start(t, guard.Config{Budget: time.Hour}, asynq.Config{ShutdownTimeout: time.Minute})
	_, id := b.send(asynq.MaxRetry(1))
	if err := b.barriers.UntilWaiting(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	b.stop()
	if info := b.info(id); info == nil || info.LastErr != guard.ErrShutdown.Error() {
		t.Errorf("it was not handed back: the task is left as %+v", info)
	}
}

func TestWhatHasRunMeanwhileIsNotHastened(t *testing.T) {
	t.Parallel()
	b := start(t, guard.Config{}, asynq.Config{RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour }})
	w := &worker{inspector: b.inspector}
	b.results(func(run int) error {
		if run > 1 {
			return errors.New("the handler fails")
		}
		return nil
	})
	completed := b.enqueue("completed", "", asynq.Retention(time.Hour))
	b.untilState(completed, asynq.TaskStateCompleted)
	retried := b.enqueue("retried", "", asynq.MaxRetry(1))
	b.untilState(retried, asynq.TaskStateRetry)
	archived := b.enqueue("archived", "", asynq.MaxRetry(0))
	b.untilState(archived, asynq.TaskStateArchived)
	for _, id := range []string{completed, retried, archived, "unknown"} {
		if err := w.run(b.queue, id, guard.ErrPending.Error()); err != nil {
			t.Errorf("it would be tried again: %v", err)
		}
	}
	fence := b.enqueue("fence", "", asynq.MaxRetry(0))
	b.untilState(fence, asynq.TaskStateArchived)
	b.ran("completed", "retried", "archived", "fence")
}
