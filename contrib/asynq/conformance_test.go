package guardasynq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/internal/devbroker"
)

// Nothing is declared as lacking: both servers are the case's own, and are killed and restarted by the suite. The
// cases run at the same time, because most of them wait most of the time.
func TestConformance(t *testing.T) {
	for _, c := range guardtest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			db, adapter := conformance(t)
			c.Run(t, db, adapter)
		})
	}
}

func conformance(t *testing.T) (guardtest.Database, guardtest.Adapter) {
	server := devpg.ForTest(t, devpg.Config{Settings: map[string]string{"fsync": "off"}})
	pool, barriers := startListener(t, server.DatabaseForTest(t))
	db := guardtest.Database{Pool: pool, Waiter: barriers, Restart: server.Restart}
	own, err := devbroker.Start(t.Context(), devbroker.Redis)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, guardtest.Adapter{
		Open: func(t testing.TB, name string, attempts int) guardtest.Queue {
			return open(t, own.Address, name, attempts)
		},
		Restart: own.Crash,
		Config:  guard.Config{Slots: 2},
	}
}

// queue is one of asynq's, as the suite sees it.
type queue struct {
	name      string
	attempts  int
	addr      string
	client    *asynq.Client
	inspector *asynq.Inspector
	rdb       *redis.Client
	servers   sync.WaitGroup // that were killed
}

func open(t testing.TB, addr, name string, attempts int) guardtest.Queue {
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	q := &queue{
		name: name, attempts: attempts, addr: addr, rdb: rdb,
		client: asynq.NewClientFromRedisClient(rdb), inspector: asynq.NewInspectorFromRedisClient(rdb),
	}
	t.Cleanup(func() {
		q.servers.Wait()
		_ = rdb.Close()
	})
	return guardtest.Queue{Publish: q.publish, Consume: q.consume, Dead: q.dead}
}

const taskType = "guardtest"

func (q *queue) publish(ctx context.Context, m guardtest.Message) error {
	opts := []asynq.Option{asynq.Queue(q.name), asynq.MaxRetry(q.attempts - 1)}
	if m.Business != "" {
		opts = append(opts, asynq.TaskID(m.Business))
	}
	task, err := NewTaskWithHeaders(ctx, taskType, []byte(m.ID), m.Header, opts...)
	if err != nil { // a header that no producer of ours sends
		task = asynq.NewTaskWithHeaders(taskType, []byte(m.ID), m.Header, opts...)
	}
	_, err = q.client.EnqueueContext(ctx, task)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil
	}
	return err
}

func (q *queue) dead(context.Context) ([]string, error) {
	tasks, err := q.inspector.ListArchivedTasks(q.name, asynq.PageSize(1000))
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return nil, nil
	}
	var ids []string
	for _, t := range tasks {
		ids = append(ids, string(t.Payload))
	}
	return ids, err
}

func (q *queue) consume(w guardtest.Worker) (guardtest.Running, error) {
	line := &cable{addr: q.addr}
	rdb := redis.NewClient(&redis.Options{Dialer: line.dial})
	ctx, stop := context.WithCancel(context.Background())
	srv, middleware, err := newServer(ctx, rdb, w.Guard, asynq.Config{Concurrency: w.Workers, Queues: map[string]int{q.name: 1}})
	if err != nil {
		stop()
		return guardtest.Running{}, err
	}
	err = srv.Start(middleware(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		return w.Handle(ctx, string(task.Payload()))
	})))
	end := func() error {
		stop()
		srv.Shutdown()
		return rdb.Close()
	}
	return guardtest.Running{
		Stop: end,
		Kill: func() {
			line.cut()
			q.servers.Go(func() { _ = end() })
			q.expireLeases()
		},
	}, err
}

// newServer returns a server with short intervals, so that tests need not wait for asynq.
func newServer(ctx context.Context, rdb *redis.Client, g *guard.Guard, cfg asynq.Config) (*asynq.Server, asynq.MiddlewareFunc, error) {
	cfg.TaskCheckInterval = 10 * time.Millisecond
	cfg.DelayedTaskCheckInterval = 50 * time.Millisecond
	cfg.LogLevel = asynq.FatalLevel
	if cfg.RetryDelayFunc == nil {
		cfg.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return 0 }
	}
	middleware, err := Configure(ctx, &cfg, g, rdb)
	if err != nil {
		return nil, nil, err
	}
	return asynq.NewServerFromRedisClient(rdb, cfg), middleware, nil
}

// expireLeases makes it a minute later: asynq gives the tasks of a killed worker to another one 30 s after their
// lease of 30 s has ended. The next server looks for such tasks when it starts.
func (q *queue) expireLeases() {
	ctx := context.Background()
	key := fmt.Sprintf("asynq:{%s}:lease", q.name)
	ids, err := q.rdb.ZRange(ctx, key, 0, -1).Result()
	for _, id := range ids {
		err = errors.Join(err, q.rdb.ZAddXX(ctx, key, redis.Z{Score: float64(time.Now().Add(-time.Minute).Unix()), Member: id}).Err())
	}
	if err != nil {
		panic(err)
	}
}

// cable leads a server to redis until it is cut.
type cable struct {
	addr string

	mu    sync.Mutex
	conns []net.Conn
	gone  bool
}

func (c *cable) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		_ = conn.Close()
		return nil, io.ErrClosedPipe
	}
	c.conns = append(c.conns, conn)
	return conn, nil
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for _, conn := range slices.Clone(c.conns) {
		_ = conn.Close()
	}
}
