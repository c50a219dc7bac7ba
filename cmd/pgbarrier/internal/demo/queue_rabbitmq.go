package demo

import (
	"context"
	"errors"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	guardrabbitmq "github.com/pgbarrier/pgbarrier/contrib/rabbitmq"
	"github.com/pgbarrier/pgbarrier/guard"
)

// An amqpQueue is RabbitMQ's, with another one for its dead letters.
type amqpQueue struct {
	url, name string
	conn      *amqp.Connection
	channel   *amqp.Channel // with confirms
}

func newAMQP(url, name string) (*amqpQueue, error) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return nil, err
	}
	q := &amqpQueue{url: url, name: name, conn: conn}
	if q.channel, err = conn.Channel(); err == nil {
		err = q.channel.Confirm(false)
	}
	if err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

func openAMQP(_ context.Context, url, name string) (queue, error) {
	q, err := newAMQP(url, name)
	if err != nil {
		return nil, err
	}
	if _, err = q.channel.QueueDeclare(q.dead(), true, false, false, false, nil); err == nil {
		_, err = q.channel.QueueDeclare(name, true, false, false, false, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": q.dead()})
	}
	if err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

func dialAMQP(_ context.Context, url, name string) (sender, error) { return newAMQP(url, name) }

func (q *amqpQueue) dead() string { return q.name + ".dead" }

func (q *amqpQueue) send(ctx context.Context, request int) error {
	m := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(strconv.Itoa(request))}
	if err := guardrabbitmq.Inject(ctx, &m); err != nil {
		return err
	}
	confirm, err := q.channel.PublishWithDeferredConfirm("", q.name, true, false, m)
	if err != nil {
		return err
	}
	if taken, err := confirm.WaitContext(ctx); err != nil || !taken {
		return errors.Join(err, errors.New("the broker did not take the message"))
	}
	return nil
}

func (q *amqpQueue) consume(ctx context.Context, g *guard.Guard, handle handler) error {
	dial := func() (*amqp.Connection, error) { return amqp.Dial(q.url) }
	// With slots for all that can be pending at once nothing is parked, so that no queue is left behind.
	config := guardrabbitmq.Config{Queue: q.name, Workers: workersAtOnce, Slots: 1000, Prefetch: 1000 + 2*workersAtOnce}
	return guardrabbitmq.Consume(ctx, dial, g, config, func(ctx context.Context, d amqp.Delivery) error {
		request, err := strconv.Atoi(string(d.Body))
		if err != nil {
			return err
		}
		return handle(ctx, request)
	})
}

// isEmpty does not see what a consumer has.
func (q *amqpQueue) isEmpty(context.Context) (bool, error) {
	state, err := q.channel.QueueDeclarePassive(q.name, true, false, false, false, nil)
	return err == nil && state.Messages == 0, err
}

func (q *amqpQueue) remove(context.Context) error {
	defer q.close()
	_, err := q.channel.QueueDelete(q.name, false, false, false)
	_, errDead := q.channel.QueueDelete(q.dead(), false, false, false)
	return errors.Join(err, errDead)
}

func (q *amqpQueue) close() { _ = q.conn.Close() }
