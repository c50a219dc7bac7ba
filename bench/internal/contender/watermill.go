package contender

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// watermillContender is the outbox of watermill-sql: a publisher on the transaction, a subscriber that polls
// (it takes messages below the oldest running transaction only). The default schema reads batches of 100.
func watermillContender() Contender {
	return Contender{
		Name:   "watermill-sql 10 ms",
		About:  "v4.1.2, publisher on the transaction, default schema and offsets, PollInterval 10 ms instead of 1 s",
		Period: pollPeriod,
		Install: func(ctx context.Context, pool *pgxpool.Pool) error {
			s, err := subscriber(pool)
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
		Start: startWatermill,
	}
}

const topic = "app"

func subscriber(pool *pgxpool.Pool) (*wsql.Subscriber, error) {
	return wsql.NewSubscriber(wsql.BeginnerFromPgx(pool), wsql.SubscriberConfig{
		ConsumerGroup:  "bench",
		PollInterval:   pollPeriod,
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

func startWatermill(ctx context.Context, url string, _ int) (Worker, error) {
	pool, err := poolOf(ctx, url, 4)
	if err != nil {
		return nil, err
	}
	w := &watermillWorker{pool: pool, board: newBoard()}
	if w.subscriber, err = subscriber(pool); err != nil {
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
			var args rowArgs
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
