package guardjetstream

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/notify"
)

// transaction returns a context in which messages carry a barrier.
func transaction(t *testing.T) (context.Context, pgbarrier.Token) {
	token := guardtest.NewToken()
	return notify.WithCreate(t.Context(), func(context.Context) (pgbarrier.Token, error) { return token, nil }), token
}

// With a bare id the second try would be a duplicate of the first, which rolled back.
func TestATransactionThatIsTriedAgainIsNoDuplicate(t *testing.T) {
	t.Parallel()
	r := newRig(t, jetstream.ConsumerConfig{})
	publish := func(ctx context.Context) bool {
		t.Helper()
		ack, err := Publish(ctx, r.js, &nats.Msg{Subject: "orders", Data: []byte("42")}, "order-42")
		if err != nil {
			t.Fatal(err)
		}
		return ack.Duplicate
	}
	first, lost := transaction(t)
	second, token := transaction(t)
	if publish(first) || publish(second) {
		t.Error("another transaction's message is a duplicate")
	}
	if !publish(second) {
		t.Error("the same transaction's message is sent twice")
	}
	if publish(t.Context()) || !publish(t.Context()) {
		t.Error("outside of a transaction the id is not the business id")
	}
	r.barriers.Abort(lost)
	r.barriers.Commit(token)
	r.work("", Config{})
	r.until("it ran for the second try, and outside", func() bool { return len(r.runs["42"]) == 2 })
	r.untilOutstanding(0)
}

func TestPublishAddsTheTransactionsBarrier(t *testing.T) {
	t.Parallel()
	ctx, token := transaction(t)
	m := &nats.Msg{Subject: "orders"}
	if err := Inject(ctx, m, ""); err != nil {
		t.Fatal(err)
	}
	guardtest.Carries(t, m.Header, token)
	if id := m.Header.Get(jetstream.MsgIDHeader); id != "" {
		t.Errorf("the message has the id %q, and was given none", id)
	}
	outside := &nats.Msg{Subject: "orders"}
	if err := Inject(t.Context(), outside, "order-42"); err != nil {
		t.Fatal(err)
	}
	guardtest.CarriesNone(t, outside.Header)
	m.Header.Set(notify.Header, "nothing like a token")
	if err := Inject(ctx, m, "order-42"); err == nil {
		t.Error("a malformed barrier is no error")
	}
}
