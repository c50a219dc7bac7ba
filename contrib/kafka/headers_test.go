package guardkafka

import (
	"context"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/notify"
)

// transaction returns a context in which records carry a barrier.
func transaction(t *testing.T) (context.Context, pgbarrier.Token) {
	token := guardtest.NewToken()
	return notify.WithCreate(t.Context(), func(context.Context) (pgbarrier.Token, error) { return token, nil }), token
}

func TestProduceAddsTheTransactionsBarrier(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, token := transaction(t)
	shared := make([]kgo.RecordHeader, 1, 10) // with room, which records may share
	shared[0] = kgo.RecordHeader{Key: "own", Value: []byte("kept")}
	inside, outside := &kgo.Record{Topic: "dead", Headers: shared}, &kgo.Record{Topic: "dead", Headers: shared}
	Headers(outside).Set("other", "value")
	if err := Produce(ctx, r.producer, inside); err != nil {
		t.Fatal(err)
	}
	if err := Produce(t.Context(), r.producer, outside); err != nil {
		t.Fatal(err)
	}
	sent := r.untilBuried("dead", 2)
	guardtest.Carries(t, Headers(sent[0]), token)
	guardtest.CarriesNone(t, Headers(sent[1]))
	if own, other := Headers(sent[0]).Get("own"), Headers(sent[0]).Get("other"); own != "kept" || other != "" {
		t.Errorf("the record has the headers %v", sent[0].Headers)
	}
	if err := Produce(ctx, r.producer, nil); err == nil {
		t.Error("no record is no error")
	}
	if err := Produce(t.Context(), r.producer, &kgo.Record{Topic: "dead", Partition: 7}); err == nil {
		t.Error("a record that no broker has is no error")
	}
}

// Kafka allows a key several times: all of its values count.
func TestAllValuesOfAHeaderCount(t *testing.T) {
	t.Parallel()
	first, second, third := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
	record := &kgo.Record{Headers: []kgo.RecordHeader{
		{Key: guard.Header, Value: []byte(first.String())},
		{Key: "own", Value: []byte("kept")},
		{Key: guard.Header, Value: []byte(second.String())},
	}}
	guardtest.Carries(t, Headers(record), first, second)
	if err := guard.Add(Headers(record), third); err != nil {
		t.Fatal(err)
	}
	guardtest.Carries(t, Headers(record), first, second, third)
	if n := len(record.Headers); n != 2 {
		t.Errorf("the record has %d headers, want 2: %v", n, record.Headers)
	}
	record.Headers = slices.Insert(record.Headers, 0, kgo.RecordHeader{Key: guard.Header})
	if tokens, err := guard.Extract(Headers(record)); err == nil {
		t.Errorf("with an empty barrier the record carries %v", tokens)
	}
	if err := guard.Add(Headers(nil), first); err == nil {
		t.Error("no record can carry a barrier")
	}
}

// With the business id alone the second try would be a duplicate of the first, which rolled back.
func TestARetriedTransactionHasADedupIDOfItsOwn(t *testing.T) {
	t.Parallel()
	_, first := transaction(t)
	_, second := transaction(t)
	if guard.DedupID("order-42", first) == guard.DedupID("order-42", second) {
		t.Error("both tries have one id")
	}
}
