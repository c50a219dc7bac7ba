package demo

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	guardasynq "github.com/pgbarrier/pgbarrier/contrib/asynq"
	"github.com/pgbarrier/pgbarrier/guard"
)

// tasks is a queue of asynq's.
type tasks struct {
	name   string
	rdb    *redis.Client
	client *asynq.Client
}

const taskType = "order"

func newTasks(url, name string) (*tasks, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	rdb := redis.NewClient(options)
	return &tasks{name: name, rdb: rdb, client: asynq.NewClientFromRedisClient(rdb)}, nil
}

func openTasks(_ context.Context, url, name string) (queue, error)  { return newTasks(url, name) }
func dialTasks(_ context.Context, url, name string) (sender, error) { return newTasks(url, name) }

func (q *tasks) send(ctx context.Context, request int) error {
	task, err := guardasynq.NewTask(ctx, taskType, []byte(strconv.Itoa(request)), asynq.Queue(q.name))
	if err != nil {
		return err
	}
	_, err = q.client.EnqueueContext(ctx, task)
	return err
}

func (q *tasks) consume(ctx context.Context, g *guard.Guard, handle handler) error {
	// asynq asks again so long after it has found a queue empty; its default of 1 s would be all that is measured.
	cfg := asynq.Config{Concurrency: workersAtOnce, Queues: map[string]int{q.name: 1}, TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel}
	guarded, err := guardasynq.Configure(ctx, &cfg, g, q.rdb)
	if err != nil {
		return err
	}
	mux := asynq.NewServeMux()
	mux.Use(guarded)
	mux.HandleFunc(taskType, func(ctx context.Context, task *asynq.Task) error {
		request, err := strconv.Atoi(string(task.Payload()))
		if err != nil {
			return err
		}
		return handle(ctx, request)
	})
	server := asynq.NewServerFromRedisClient(q.rdb, cfg)
	if err := server.Start(mux); err != nil {
		return err
	}
	<-ctx.Done()
	server.Shutdown()
	return nil
}

func (q *tasks) isEmpty(context.Context) (bool, error) {
	info, err := asynq.NewInspectorFromRedisClient(q.rdb).GetQueueInfo(q.name)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return true, nil
	}
	return err == nil && info.Size == 0, err
}

func (q *tasks) remove(context.Context) error {
	defer q.close()
	err := asynq.NewInspectorFromRedisClient(q.rdb).DeleteQueue(q.name, true)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return nil
	}
	return err
}

func (q *tasks) close() { _ = q.rdb.Close() }
