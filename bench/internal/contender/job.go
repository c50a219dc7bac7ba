package contender

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Job is one transaction and the handler that is to run for its row. Times are nanoseconds of one
// monotonic clock, in atomics because the only thing that orders their writers is the database.
type Job struct {
	ID      int64
	begun   time.Time // what the times below count from
	sent    atomic.Int64
	ret     atomic.Int64
	running atomic.Int64
	ran     chan struct{}
	once    sync.Once
}

// NewJob returns the job about the row of that id.
func NewJob(id int64) *Job { return &Job{ID: id, begun: time.Now(), ran: make(chan struct{})} }

// CommitSent is called right before COMMIT is sent, CommitReturned right after it has returned.
func (j *Job) CommitSent()     { j.sent.Store(int64(time.Since(j.begun))) }
func (j *Job) CommitReturned() { j.ret.Store(int64(time.Since(j.begun))) }

// Run is the handler. Only its first call counts: some contenders deliver at least once.
func (j *Job) Run() {
	now := int64(time.Since(j.begun))
	j.once.Do(func() {
		j.running.Store(now)
		close(j.ran)
	})
}

// Ran is closed when the handler has run.
func (j *Job) Ran() <-chan struct{} { return j.ran }

// SinceSent is the time from COMMIT sent, and SinceReturned that from COMMIT returned, to the handler
// running. A handler that ran before COMMIT returned (the row can be read sooner) counts as zero; one that
// has not run yet, as if it ran now.
func (j *Job) SinceSent() time.Duration     { return j.since(j.sent.Load()) }
func (j *Job) SinceReturned() time.Duration { return j.since(j.ret.Load()) }

// CommitTook is the time that COMMIT took.
func (j *Job) CommitTook() time.Duration { return time.Duration(j.ret.Load() - j.sent.Load()) }

func (j *Job) since(from int64) time.Duration {
	to := j.running.Load()
	if to == 0 {
		to = int64(time.Since(j.begun))
	}
	return time.Duration(max(to-from, 0))
}

// board finds the jobs that wait by their rows' ids.
type board struct {
	mu   sync.Mutex
	jobs map[int64]*Job
}

func newBoard() *board { return &board{jobs: make(map[int64]*Job)} }

func (b *board) add(j *Job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.jobs[j.ID] = j
}

// take returns the job and forgets it, or nil if it is not there (any more).
func (b *board) take(id int64) *Job {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.jobs[id]
	delete(b.jobs, id)
	return j
}
