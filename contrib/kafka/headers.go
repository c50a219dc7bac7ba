package guardkafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/notify"
)

// Headers returns a record's headers as a guard.Carrier.
func Headers(r *kgo.Record) guard.Carrier { return (*headers)(r) }

type headers kgo.Record

// Get returns the first value of key, or nothing.
func (h *headers) Get(key string) string {
	if values := h.Values(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Values returns all values of key: Kafka allows several.
func (h *headers) Values(key string) (values []string) {
	for _, header := range h.Headers {
		if header.Key == key {
			values = append(values, string(header.Value))
		}
	}
	return values
}

// Set replaces all values of key. It writes to a slice of its own, because several records may share one.
func (h *headers) Set(key, value string) {
	others := slices.Clone(h.Headers)
	others = slices.DeleteFunc(others, func(header kgo.RecordHeader) bool { return header.Key == key })
	h.Headers = append(others, kgo.RecordHeader{Key: key, Value: []byte(value)})
}

// Inject puts the barrier of the context's transaction (notify.BeginFunc, notify.WithTx) into a record's headers.
// Outside of a transaction it does nothing. On an error the record must not be produced.
func Inject(ctx context.Context, r *kgo.Record) error {
	if r == nil {
		return errors.New("pgbarrier: kafka: there is no record to put the barrier into")
	}
	return notify.Inject(ctx, Headers(r))
}

// Produce sends records with the barrier of the context's transaction, and returns nil when the brokers have all of
// them. On an error some may have been sent: roll back, or produce them again.
func Produce(ctx context.Context, client *kgo.Client, records ...*kgo.Record) error {
	for _, r := range records {
		if err := Inject(ctx, r); err != nil {
			return err
		}
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("pgbarrier: kafka: produce: %w", err)
	}
	return nil
}
