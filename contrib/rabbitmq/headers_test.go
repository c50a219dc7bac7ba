package guardrabbitmq

import (
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

func TestHeadersOfOtherClientsAreRead(t *testing.T) {
	a, b := guardtest.NewToken(), guardtest.NewToken()
	for _, value := range []any{
		a.String() + "," + b.String(), []byte(a.String() + "," + b.String()), []any{a.String(), []byte(b.String())},
	} {
		guardtest.Carries(t, Headers{guard.Header: value}, a, b)
	}
	guardtest.CarriesNone(t, Headers{})
	guardtest.CarriesNone(t, Headers(nil))
}

func TestAGarbledHeaderIsNotTakenForNone(t *testing.T) {
	for _, value := range []any{nil, "", int32(7), true, []any{}, []any{guardtest.NewToken().String(), nil}, amqp.Table{}} {
		if tokens, err := guard.Extract(Headers{guard.Header: value}); !errors.Is(err, pgbarrier.ErrInvalidToken) {
			t.Errorf("%v is read as %v, %v", value, tokens, err)
		}
	}
}

func TestOutsideOfATransactionAMessageStaysAsItIs(t *testing.T) {
	var m amqp.Publishing
	if err := Inject(t.Context(), &m); err != nil || m.Headers != nil {
		t.Errorf("%v, %v", m.Headers, err)
	}
}

func TestOnlyDeathsByParkingAreForgotten(t *testing.T) {
	headers := amqp.Table{
		"x-death": []any{
			amqp.Table{"queue": "orders.pgbarrier.parked.250.1", "reason": "expired"}, amqp.Table{"queue": "orders", "reason": "rejected"},
		},
		"x-first-death-queue": "orders", "x-last-death-queue": "orders.pgbarrier.parked.250.1", "x-last-death-reason": "expired",
	}
	m := restore(amqp.Delivery{Headers: headers}, "orders")
	deaths := m.Headers["x-death"].([]any)
	if len(deaths) != 1 || deaths[0].(amqp.Table)["queue"] != "orders" || len(m.Headers) != 2 || m.Headers["x-first-death-queue"] != "orders" {
		t.Errorf("%v", m.Headers)
	}
	if len(headers["x-death"].([]any)) != 2 {
		t.Error("the delivery's own headers were changed")
	}
}

func TestStepsCoverAllDelays(t *testing.T) {
	for delay, step := range map[time.Duration]time.Duration{
		0: firstStep, firstStep: firstStep, firstStep + 1: 2 * firstStep, time.Minute: 64 * time.Second, time.Hour: 64 * time.Second,
	} {
		if got := roundUp(delay); got != step {
			t.Errorf("%v is rounded up to %v", delay, got)
		}
	}
}

func TestAConfigLeavesRoomForMessagesThatCanRun(t *testing.T) {
	for _, c := range []Config{
		{}, {Queue: "q", Prefetch: 10, Slots: 10}, {Queue: "q", Prefetch: 10, Workers: 10}, {Queue: "q", Slots: -1}, {Queue: "q", Prefetch: 70000},
	} {
		if _, err := c.complete(); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	for _, c := range []Config{{Queue: "q"}, {Queue: "q", Workers: 300}, {Queue: "q", Slots: 300}, {Queue: "q", Prefetch: 11}} {
		if got, err := c.complete(); err != nil || got.Slots+got.Workers > got.Prefetch {
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
	}
}
