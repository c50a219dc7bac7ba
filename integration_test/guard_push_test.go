package integration_test

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardhttp"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// A push queue delivers each message by a request and goes by the answer's status, as webhooks do.
func TestAPushQueueOfHTTPRequestsPassesTheSuite(t *testing.T) {
	t.Parallel()
	adapter := (&memoryBroker{push: true}).adapter()
	adapter.Config.Slots = -1 // a request that waits takes no worker
	adapter.Lacks[guardtest.Hastening] = "whoever pushes goes by Retry-After, in whole seconds"
	guardtest.Run(t, suiteDatabase(t, server.DatabaseForTest(t)), adapter)
}

type requestContext struct{}

// serve starts a guarded server, and a client that pushes the queue's messages to it.
func (q *memoryQueue) serve(worker guardtest.Worker) (guardtest.Running, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return guardtest.Running{}, err
	}
	alive, kill := context.WithCancel(context.Background())
	ctx, stop := context.WithCancel(alive)
	workers := make(chan struct{}, worker.Workers)
	guarded := guardhttp.Middleware(worker.Guard)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		workers <- struct{}{}
		defer func() { <-workers }()
		ctx := r.Context().Value(requestContext{}).(context.Context)
		if err := worker.Handle(ctx, r.URL.Query().Get("id")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	// Shutdown waits for requests that wait. What waits here ends with the server, what is handled does not.
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		waiting, cancel := context.WithCancel(context.WithValue(r.Context(), requestContext{}, r.Context()))
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		guarded.ServeHTTP(w, r.WithContext(waiting))
	})}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	client := &http.Client{Transport: transport}
	w := &memoryWorker{Worker: worker, queue: q, ctx: ctx, alive: alive}
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = server.Serve(listener) })
	tasks.Go(func() {
		for m := q.take(w); m != nil; m = q.take(w) {
			l := m.lease
			tasks.Go(func() { w.push(client, "http://"+listener.Addr().String()+"/?id="+m.ID, m, l) })
		}
	})
	q.workers.Go(tasks.Wait)
	return guardtest.Running{
		Stop: func() error {
			stop()
			err := server.Shutdown(context.Background())
			tasks.Wait()
			kill()
			transport.CloseIdleConnections()
			return err
		},
		Kill: func() {
			kill()
			q.lose(w)
			_ = server.Close()
			transport.CloseIdleConnections()
		},
	}, nil
}

// push sends a message, and goes by the answer.
func (w *memoryWorker) push(client *http.Client, url string, m *queued, l *lease) {
	q := w.queue
	r, err := http.NewRequestWithContext(l.ctx, http.MethodPost, url, nil)
	if err != nil {
		panic(err)
	}
	if value, ok := m.Header[guard.Header]; ok {
		r.Header.Set(guard.Header, value)
	}
	resp, err := client.Do(r)
	if err != nil { // nobody has handled it
		q.settle(m, l, func() { m.ready = time.Now().Add(50 * time.Millisecond) })
		return
	}
	defer resp.Body.Close()
	retry, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	q.settle(m, l, func() {
		switch resp.StatusCode {
		case http.StatusOK, http.StatusConflict:
			q.remove(m)
		case http.StatusServiceUnavailable:
			m.ready = time.Now().Add(time.Duration(retry) * time.Second)
		case http.StatusInternalServerError:
			q.fail(m)
		default:
			q.bury(m)
		}
	})
}
