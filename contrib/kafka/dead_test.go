package guardkafka

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

var errHandler = errors.New("the handler fails")

var consumeParked = []kgo.Opt{kgo.ConsumerGroup("patient"), kgo.ConsumeTopics("parked")}

// While its copy cannot be produced, a rejected record is not committed: it would be nowhere. Others go on.
func TestARejectedRecordIsProducedBeforeItIsCommitted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	fault := r.cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "dead", Err: kerr.TopicAuthorizationFailed, Count: -1})
	bad := &kgo.Record{Topic: "orders", Key: []byte("key"), Value: []byte("malformed"),
		Headers: []kgo.RecordHeader{{Key: "own", Value: []byte("kept")}, {Key: guard.Header, Value: []byte("nothing like a token")}}}
	if err := Produce(t.Context(), r.producer, bad); err != nil {
		t.Fatal(err)
	}
	r.send(1, pgbarrier.Token{}, "free")
	p := r.work("", Config{})
	r.untilReported(2)
	r.untilCommitted(1, 1)
	r.untilCommitted(0, 0)
	r.end(p) // it does not wait for the topic
	fault.Remove()
	hasty := r.cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "dead", Count: -1, Observe: true,
		When: func(request kmsg.Request) bool { return request.(*kmsg.ProduceRequest).Acks != -1 }})
	r.work("", Config{}, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	r.untilCommitted(0, 1)
	if hasty.Hits() > 0 {
		t.Error("the record was produced without waiting for all replicas")
	}
	buried := r.untilBuried("dead", 1)[0]
	for key, part := range map[string]string{"own": "kept", HeaderReason: "token", HeaderOrigin: "orders/0/0", guard.Header: "nothing like a token"} {
		if value := Headers(buried).Get(key); !strings.Contains(value, part) {
			t.Errorf("the record's header %s is %q, want %q in it", key, value, part)
		}
	}
	if string(buried.Key) != "key" || string(buried.Value) != "malformed" {
		t.Errorf("the record is %q: %q", buried.Key, buried.Value)
	}
	r.ran("free")
}

// A handler may fail so often; what is behind it waits, and runs then.
func TestARecordWhoseAttemptsAreUsedUpIsDead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.handle = func(_ context.Context, text string) error {
		if text == "bad" {
			return errHandler
		}
		return nil
	}
	r.send(0, pgbarrier.Token{}, "bad", "next")
	r.work("", Config{Attempts: 3, Parked: "parked"})
	r.untilCommitted(0, 2)
	r.ran("bad", "bad", "bad", "next")
	buried := r.untilBuried("dead", 1)[0]
	if reason := Headers(buried).Get(HeaderReason); reason != errHandler.Error() {
		t.Errorf("the reason is %q", reason)
	}
	if len(r.errs) != 3 || !errors.Is(r.errs[0], errHandler) {
		t.Errorf("Report was told %v, want three failures", r.errs)
	}
}

func TestConsumeRefusesWhatItCannotGuard(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, err := guard.New(new(guardtest.Waiter), guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	handle := func(context.Context, *kgo.Record) error { return nil }
	dead := Config{Dead: "dead"}
	group, topic := kgo.ConsumerGroup("shipping"), kgo.ConsumeTopics("orders")
	for what, err := range map[string]error{
		"no guard":              Consume(t.Context(), nil, dead, handle, append(r.options(), group, topic)...),
		"no handler":            Consume(t.Context(), g, dead, nil, append(r.options(), group, topic)...),
		"no topic for the dead": Consume(t.Context(), g, Config{}, handle, append(r.options(), group, topic)...),
		"negative workers":      Consume(t.Context(), g, Config{Dead: "dead", Workers: -1}, handle, append(r.options(), group, topic)...),
		"no group":              Consume(t.Context(), g, dead, handle, append(r.options(), topic)...),
		"a transactional id":    Consume(t.Context(), g, dead, handle, append(r.options(), group, topic, kgo.TransactionalID("x"))...),
		"the topic of the dead": Consume(t.Context(), g, Config{Dead: "orders"}, handle, append(r.options(), group, topic)...),
		"the topic of the parked": Consume(t.Context(), g, Config{Dead: "dead", Parked: "orders"}, handle,
			append(r.options(), group, topic)...),
		"options that contradict": Consume(t.Context(), g, dead, handle, append(r.options(), group, topic, kgo.AutoCommitMarks())...),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "pgbarrier: kafka: ") {
			t.Errorf("with %s Consume returned %v", what, err)
		}
	}
}
