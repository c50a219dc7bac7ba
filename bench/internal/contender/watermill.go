package contender

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// watermillContender is the outbox of watermill-sql: a publisher on the transaction, a subscriber
// that polls (it takes messages below the oldest running transaction only). A zero interval is its
// default, 1 s. The default schema reads batches of 100.
func watermillContender(name string, interval time.Duration) Contender {
	about, period := "1 s (default)", time.Second
	if interval > 0 {
		about, period = interval.String(), interval
	}
	return Contender{
		Name:   name,
		About:  "v4.0.0, publisher on the transaction, default schema and offsets, PollInterval " + about,
		Queue:  true,
		Period: period,
		Install: func(ctx context.Context, pool *pgxpool.Pool) error {
			s, err := subscriber(pool, interval)
			if err != nil {
				return err
			}
			if err := s.SubscribeInitialize(topic); err != nil {
				return err
			}
			return s.Close()
		},
		// The consumer's offset stays: it is of transaction ids, which go on.
		Clear: `TRUNCATE "watermill_app"`,
		Start: func(ctx context.Context, url string, _ int) (Worker, error) {
			return startWatermill(ctx, url, interval)
		},
	}
}

const topic = "app"

func subscriber(pool *pgxpool.Pool, interval time.Duration) (*wsql.Subscriber, error) {
	return wsql.NewSubscriber(wsql.BeginnerFromPgx(pool), wsql.SubscriberConfig{
		ConsumerGroup:  "bench",
		PollInterval:   interval,
		SchemaAdapter:  wsql.DefaultPostgreSQLSchema{},
		OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{},
	}, nil)
}

type watermillWorker struct {
	pool       *pgxpool.Pool
	subscriber *wsql.Subscriber
	board      *board
	tasks      sync.WaitGroup
}

func startWatermill(ctx context.Context, url string, interval time.Duration) (Worker, error) {
	pool, err := poolOf(ctx, url, 4)
	if err != nil {
		return nil, err
	}
	w := &watermillWorker{pool: pool, board: newBoard()}
	if w.subscriber, err = subscriber(pool, interval); err != nil {
		pool.Close()
		return nil, err
	}
	messages, err := w.subscriber.Subscribe(context.WithoutCancel(ctx), topic)
	if err != nil {
		pool.Close()
		return nil, err
	}
	w.tasks.Go(func() {
		for m := range messages {
			var args riverArgs
			if err := json.Unmarshal(m.Payload, &args); err == nil {
				if j := w.board.take(args.Row); j != nil {
					j.Run()
				}
			}
			m.Ack()
		}
	})
	return w, nil
}

// Produce implements Worker.
func (w *watermillWorker) Produce(ctx context.Context, tx pgx.Tx, job *Job) error {
	w.board.add(job)
	if _, err := tx.Exec(ctx, InsertRow, job.ID); err != nil {
		return err
	}
	publisher, err := wsql.NewPublisher(wsql.TxFromPgx(tx), wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}}, nil)
	if err != nil {
		return err
	}
	m := message.NewMessage(watermill.NewUUID(), fmt.Appendf(nil, `{"row": %d}`, job.ID))
	m.SetContext(ctx)
	return publisher.Publish(topic, m)
}

// Close implements Worker.
func (w *watermillWorker) Close() error {
	defer w.pool.Close()
	err := w.subscriber.Close()
	w.tasks.Wait()
	return err
}
