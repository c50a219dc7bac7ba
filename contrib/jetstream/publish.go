package guardjetstream

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/notify"
)

// Publish sends m with the barrier of the context's transaction (notify.WithTx), and waits until the stream has it.
// Outside of a transaction it just sends.
//
// id, unless empty, is what JetStream's deduplication goes by, joined with the message's barriers, see guard.DedupID:
// sending the same again in one transaction is a duplicate, sending it in the next one, after a rollback, is not.
func Publish(ctx context.Context, js jetstream.JetStream, m *nats.Msg, id string, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if err := Inject(ctx, m, id); err != nil {
		return nil, err
	}
	return js.PublishMsg(ctx, m, opts...)
}

// Inject is what [Publish] does before it sends, for who sends by other means. What is sent by PublishMsgAsync must
// be confirmed before COMMIT. On an error the message must not be sent.
func Inject(ctx context.Context, m *nats.Msg, id string) error {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	if err := notify.Inject(ctx, m.Header); err != nil {
		return err
	}
	if id == "" {
		return nil
	}
	tokens, err := guard.Extract(m.Header)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		id = guard.DedupID(id, t)
	}
	m.Header.Set(jetstream.MsgIDHeader, id)
	return nil
}
