package guardwatermill

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/notify"
)

// transaction returns a context in which messages carry a barrier.
func transaction(t *testing.T) (context.Context, pgbarrier.Token) {
	token := guardtest.NewToken()
	return notify.WithCreate(t.Context(), func(context.Context) (pgbarrier.Token, error) { return token, nil }), token
}

// A broker drops messages whose UUID it has seen, as JetStream does with TrackMsgId.
type broker struct {
	seen map[string]bool
	has  []*message.Message
}

func (b *broker) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		if !b.seen[m.UUID] {
			b.seen[m.UUID] = true
			b.has = append(b.has, m)
		}
	}
	return nil
}

func (b *broker) Close() error { return nil }

func publisherTo(t *testing.T, b *broker) message.Publisher {
	t.Helper()
	b.seen = map[string]bool{}
	pub, err := Publisher(b)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// The message is made once, outside, as people do who retry a transaction.
func TestAMessageThatEachTryOfATransactionPublishesCarriesThatTrysBarrierAndIsNoDuplicate(t *testing.T) {
	t.Parallel()
	var b broker
	pub := publisherTo(t, &b)
	m := message.NewMessage("order-42", []byte("42"))
	var tokens []pgbarrier.Token
	for range 2 {
		ctx, token := transaction(t)
		tokens = append(tokens, token)
		m.SetContext(ctx)
		for range 2 { // the second time the producer has not seen the first one's answer
			if err := pub.Publish("orders", m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(b.has) != 2 {
		t.Fatalf("the broker has %d messages of two transactions", len(b.has))
	}
	for i, sent := range b.has {
		guardtest.Carries(t, sent.Metadata, tokens[i])
		if want := guard.DedupID("order-42", tokens[i]); sent.UUID != want || string(sent.Payload) != "42" {
			t.Errorf("it was sent as %q, %q, want %q", sent.UUID, sent.Payload, want)
		}
	}
	guardtest.CarriesNone(t, m.Metadata)
	if m.UUID != "order-42" {
		t.Errorf("the caller's message has the UUID %q", m.UUID)
	}
}

func TestOutsideOfATransactionNothingIsChanged(t *testing.T) {
	t.Parallel()
	var b broker
	pub := publisherTo(t, &b)
	m := message.NewMessage("order-42", nil)
	m.Metadata.Set(notify.Header, "what a poisoned message has")
	if err := pub.Publish("orders", m); err != nil {
		t.Fatal(err)
	}
	if len(b.has) != 1 || b.has[0] != m || m.UUID != "order-42" {
		t.Errorf("it was sent as %+v", b.has)
	}
}

func TestNothingIsPublishedIfOneMessageCannotCarryItsBarrier(t *testing.T) {
	t.Parallel()
	errEnded := errors.New("the transaction has ended")
	ended := notify.WithCreate(t.Context(), func(context.Context) (pgbarrier.Token, error) { return pgbarrier.Token{}, errEnded })
	within, _ := transaction(t)
	malformed := message.NewMessageWithContext(within, "b", nil)
	malformed.Metadata.Set(notify.Header, "nothing like a token")
	for what, m := range map[string]*message.Message{"ended": message.NewMessageWithContext(ended, "b", nil), "malformed": malformed} {
		var b broker
		pub := publisherTo(t, &b)
		if err := pub.Publish("orders", message.NewMessageWithContext(within, "a", nil), m); err == nil || len(b.has) > 0 {
			t.Errorf("%s: %d messages were published, and the error is %v", what, len(b.has), err)
		}
	}
	if _, err := Publisher(nil); err == nil {
		t.Error("no publisher is taken for one")
	}
}

func TestInjectAddsTheBarrierAndJoinsTheID(t *testing.T) {
	t.Parallel()
	ctx, token := transaction(t)
	m := &message.Message{UUID: "u"} // without metadata
	if err := Inject(ctx, m, ""); err != nil || m.UUID != "u" {
		t.Errorf("the UUID is %q, %v", m.UUID, err)
	}
	guardtest.Carries(t, guard.Map(m.Metadata), token)
	for range 2 {
		if err := Inject(ctx, m, m.UUID); err != nil || m.UUID != guard.DedupID("u", token) {
			t.Errorf("the UUID is %q, %v", m.UUID, err)
		}
	}
	// A message that is handled, and published again in a transaction: it waits for both.
	again, second := transaction(t)
	if err := Inject(again, m, m.UUID); err != nil || m.UUID != guard.DedupID(guard.DedupID("u", token), second) {
		t.Errorf("the UUID is %q, %v", m.UUID, err)
	}
	if tokens := guardtest.Carries(t, guard.Map(m.Metadata), token, second); !slices.Equal(tokens, []pgbarrier.Token{token, second}) {
		t.Errorf("it carries %v", tokens)
	}
	outside := message.NewMessage("", nil)
	if err := Inject(t.Context(), outside, "order-42"); err != nil || outside.UUID != "order-42" {
		t.Errorf("the UUID is %q, %v", outside.UUID, err)
	}
	guardtest.CarriesNone(t, outside.Metadata)
}

// Publisher's documentation warns of this: the Publish waits for an Ack, which waits for the COMMIT, which comes after
// the Publish.
func TestAPublishThatWaitsForTheConsumerWaitsForItsOwnCommit(t *testing.T) {
	t.Parallel()
	var barriers guardtest.Waiter
	g, err := guard.New(&barriers, guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	pubsub := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, nil)
	router := message.NewDefaultRouter(nil)
	router.AddMiddleware(Middleware(g, Config{}))
	router.AddConsumerHandler("ship", "orders", pubsub, func(*message.Message) error { return nil })
	ended := make(chan error, 1)
	go func() { ended <- router.Run(context.Background()) }()
	<-router.Running()
	defer func() {
		if err := router.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	}()
	pub, err := Publisher(pubsub)
	if err != nil {
		t.Fatal(err)
	}
	ctx, token := transaction(t)
	published := make(chan error, 1)
	go func() { published <- pub.Publish("orders", message.NewMessageWithContext(ctx, "", nil)) }()
	if err := barriers.UntilWaiting(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-published:
		t.Errorf("Publish has returned before its transaction has ended, %v: change its documentation", err)
	default:
	}
	barriers.Abort(token) // as the server does that has lost patience
	if err := <-published; err != nil {
		t.Error(err)
	}
}
