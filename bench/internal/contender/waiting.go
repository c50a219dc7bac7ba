package contender

import "sync"

// waiting is the application's side of the contenders that only wake somebody: a goroutine for each
// job waits, and runs the handler when it is woken, as a worker would that has received a message.
type waiting struct {
	mu    sync.Mutex
	wakes map[int64]chan struct{}
	end   chan struct{}
	tasks sync.WaitGroup
}

func newWaiting() *waiting {
	return &waiting{wakes: make(map[int64]chan struct{}), end: make(chan struct{})}
}

func (w *waiting) add(j *Job) {
	wake := make(chan struct{})
	w.mu.Lock()
	w.wakes[j.ID] = wake
	w.mu.Unlock()
	w.tasks.Go(func() {
		select {
		case <-wake:
			j.Run()
		case <-w.end:
		}
	})
}

func (w *waiting) wake(id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if wake := w.wakes[id]; wake != nil {
		close(wake)
		delete(w.wakes, id)
	}
}

func (w *waiting) ids() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]int64, 0, len(w.wakes))
	for id := range w.wakes {
		ids = append(ids, id)
	}
	return ids
}

func (w *waiting) close() {
	close(w.end)
	w.tasks.Wait()
}
