package guardrabbitmq

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

func TestAHandlerFailsAsOftenAsAttemptsSay(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		s := newTrial(t, kind, 20)
		s.handle = func(context.Context, amqp.Delivery) error { return errors.New("fails") }
		s.send("fails")
		stop := s.start()
		for range 3 {
			s.ran()
		}
		stop()
		s.untilRest(0, 1)
		if len(s.runs) > 0 {
			t.Errorf("it ran %d times more", len(s.runs))
		}
	})
}

func TestAFailureBeforeParkingIsStillCountedAfterIt(t *testing.T) {
	t.Parallel()
	s := newTrial(t, "quorum", 20)
	s.config.Hold = time.Millisecond
	token := guardtest.NewToken()
	s.barriers.Commit(token)
	s.handle = func(context.Context, amqp.Delivery) error {
		s.barriers.Set(pgbarrier.Pending, token)
		return errors.New("fails")
	}
	s.send("fails", token)
	stop := s.start()
	for run := range int64(3) {
		s.ran()
		if run < 2 {
			s.untilGivenBack(s.laters.Load() + 2)
			s.barriers.Commit(token)
		}
	}
	stop()
	s.untilRest(0, 1)
}

func TestTheHandlerGetsTheMessageThatWasSent(t *testing.T) {
	t.Parallel()
	s := newTrial(t, "classic", 20)
	s.config.Hold = time.Millisecond
	exchange := s.queue + "-exchange"
	onChannel(t, broker, func(c *amqp.Channel) error {
		if err := c.ExchangeDeclare(exchange, "direct", false, false, false, false, nil); err != nil {
			return err
		}
		return c.QueueBind(s.queue, "placed", exchange, false, nil)
	})
	t.Cleanup(func() {
		onChannel(t, broker, func(c *amqp.Channel) error { return c.ExchangeDelete(exchange, false, false) })
	})
	other := newTrial(t, "classic", 20) // gets a copy, once
	pending := guardtest.NewToken()
	sent := amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Priority: 3,
		CorrelationId: "c", ReplyTo: "r", MessageId: "m", Type: "t", AppId: "a", UserId: "guest", Expiration: "60000",
		Timestamp: time.Unix(1_700_000_000, 0), Body: []byte(`{}`),
		Headers: amqp.Table{"n": int32(1), "CC": []any{other.queue}, guard.Header: pending.String()},
	}
	onChannel(t, broker, func(c *amqp.Channel) error {
		if err := c.QueueBind(other.queue, other.queue, exchange, false, nil); err != nil {
			return err
		}
		if err := c.Confirm(false); err != nil {
			return err
		}
		confirm, err := c.PublishWithDeferredConfirm(exchange, "placed", true, false, sent)
		if err == nil && !confirm.Wait() {
			err = errRefused
		}
		return err
	})
	s.start()
	s.untilGivenBack(4)
	s.barriers.Commit(pending)
	d := s.ran()
	got := amqp.Publishing{
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode, Priority: d.Priority,
		CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, MessageId: d.MessageId, Type: d.Type, AppId: d.AppId,
		Timestamp: d.Timestamp.UTC(), Body: d.Body, Headers: d.Headers,
	}
	sent.UserId, sent.Expiration, sent.Timestamp = "", "", sent.Timestamp.UTC()
	if fmt.Sprint(got) != fmt.Sprint(sent) || d.Exchange != exchange || d.RoutingKey != "placed" {
		t.Errorf("it got %v by %q and %q,\nand not %v", got, d.Exchange, d.RoutingKey, sent)
	}
	other.untilRest(1, 0)
	if err := d.Ack(false); err == nil {
		t.Error("a handler could acknowledge")
	}
}
