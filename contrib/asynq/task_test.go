package guardasynq

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/notify"
)

var errRollback = errors.New("roll back")

func TestATaskCarriesTheBarrierOfItsTransaction(t *testing.T) {
	t.Parallel()
	pool, _ := startListener(t, postgres.DatabaseForTest(t))
	before := guardtest.NewToken()
	headers := map[string]string{"trace": "1", guard.Header: before.String()}
	if err := notify.BeginFunc(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
		current, _, err := notify.Current(ctx)
		if err != nil {
			return err
		}
		task, err := NewTask(ctx, "order:ship", nil)
		if err != nil {
			return err
		}
		guardtest.Carries(t, guard.Map(task.Headers()), current)
		if task, err = NewTaskWithHeaders(ctx, "order:ship", nil, headers); err != nil {
			return err
		}
		guardtest.Carries(t, guard.Map(task.Headers()), before, current)
		if task.Headers()["trace"] != "1" || headers[guard.Header] != before.String() {
			t.Errorf("the headers are %v and %v", task.Headers(), headers)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	task, err := NewTask(t.Context(), "order:ship", nil, asynq.Unique(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	guardtest.CarriesNone(t, guard.Map(task.Headers()))
}

func TestATaskIDIsOneTransactionsOnly(t *testing.T) {
	t.Parallel()
	pool, _ := startListener(t, postgres.DatabaseForTest(t))
	rdb := redis.NewClient(&redis.Options{Addr: broker.Address})
	defer func() { _ = rdb.Close() }()
	client := asynq.NewClientFromRedisClient(rdb)
	queue := strings.ToLower(rand.Text())
	var ids []string
	for _, end := range []error{errRollback, nil} {
		if err := notify.BeginFunc(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
			current, _, err := notify.Current(ctx)
			if err != nil {
				return err
			}
			for i, id := range []string{"order-7", "order-7", guard.DedupID("order-7", current)} {
				task, err := NewTask(ctx, "order:ship", nil, asynq.Queue(queue), asynq.TaskID(id))
				if err != nil {
					return err
				}
				info, err := client.EnqueueContext(ctx, task)
				switch {
				case i == 0 && err == nil:
					ids = append(ids, info.ID)
				case i == 0 || !errors.Is(err, asynq.ErrTaskIDConflict):
					t.Errorf("enqueueing it for the %d. time: %v", i+1, err)
				}
			}
			return end
		}); !errors.Is(err, end) {
			t.Fatal(err)
		}
	}
	if len(ids) != 2 || ids[0] == ids[1] {
		t.Errorf("the ids of two transactions' tasks are %q", ids)
	}
	task, err := NewTask(t.Context(), "order:ship", nil, asynq.Queue(queue), asynq.TaskID("order-7"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := client.Enqueue(task); err != nil || info.ID != "order-7" {
		t.Errorf("outside of a transaction the id is %v, %v", info, err)
	}
}

func TestWhatCannotBeSentSafelyIsRefused(t *testing.T) {
	t.Parallel()
	pool, _ := startListener(t, postgres.DatabaseForTest(t))
	var left context.Context
	err := notify.BeginFunc(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
		left = ctx
		_, err := NewTask(ctx, "order:ship", nil, asynq.Unique(time.Hour))
		return err
	})
	if !errors.Is(err, errUnique) {
		t.Errorf("asynq.Unique in a transaction: %v", err)
	}
	if _, err := NewTask(left, "order:ship", nil); err == nil {
		t.Error("a task was made after the end of its transaction")
	}
	if _, err := NewTaskWithHeaders(t.Context(), "order:ship", nil, map[string]string{guard.Header: "x"}); err == nil {
		t.Error("a task was made with a malformed barrier")
	}
}
