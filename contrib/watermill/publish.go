package guardwatermill

import (
	"context"
	"errors"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/notify"
)

// Publisher returns a publisher that puts into each message the barrier of the transaction in its context, see
// [notify.WithTx], and then publishes to pub. It is a message.PublisherDecorator. message.NewMessageWithContext and
// cqrs's buses put a context into a message; message.NewMessage does not, and its message carries no barrier.
//
// What is published in a transaction is a copy whose UUID is joined with the barrier's, see [Inject]: a message that is
// made once and published by each try of a transaction carries one barrier each time, and no broker takes the second
// try's for a duplicate. Outside of a transaction nothing is changed.
//
// Publish inside the transaction, and let pub return when the broker has the message, which is not the default of
// all: amqp's is Publish.ConfirmDelivery. It must not wait for the consumer: gochannel with
// BlockPublishUntilSubscriberAck waits for a COMMIT that comes after it. On an error nothing has been published, or
// pub has failed: roll back.
func Publisher(pub message.Publisher) (message.Publisher, error) {
	if pub == nil {
		return nil, errors.New("pgbarrier: watermill: Publisher needs a publisher")
	}
	return publisher{pub}, nil
}

type publisher struct{ message.Publisher }

// Publish implements message.Publisher.
func (p publisher) Publish(topic string, messages ...*message.Message) error {
	sent := make([]*message.Message, len(messages))
	for i, m := range messages {
		_, within, err := notify.Current(m.Context())
		if err != nil {
			return err
		}
		if sent[i] = m; within {
			sent[i] = m.CopyWithContext()
			if err := Inject(m.Context(), sent[i], m.UUID); err != nil {
				return err
			}
		}
	}
	return p.Publisher.Publish(topic, sent...)
}

// Inject puts the barrier of the context's transaction into m, for who publishes without [Publisher]. Outside of a
// transaction m carries what it carried. Make m inside the transaction: with the barrier of a try that rolled back it is
// dropped, whatever else it carries.
//
// id, unless empty, identifies what m is about. Joined with m's barriers, see [guard.DedupID], it becomes m's UUID, by
// which brokers drop duplicates (watermill-nats: TrackMsgId): sending the same again in one transaction is a duplicate,
// sending it in the next one, after a rollback, is not. An id that has a barrier's in it already is left as it is.
func Inject(ctx context.Context, m *message.Message, id string) error {
	if m.Metadata == nil {
		m.Metadata = message.Metadata{}
	}
	if err := notify.Inject(ctx, m.Metadata); err != nil {
		return err
	}
	if id == "" {
		return nil
	}
	tokens, err := guard.Extract(guard.Map(m.Metadata))
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if !strings.Contains(id, t.ID.String()) {
			id = guard.DedupID(id, t)
		}
	}
	m.UUID = id
	return nil
}
