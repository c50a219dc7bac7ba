package guardrabbitmq

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/notify"
)

// Headers is a message's header table as a guard.Carrier and notify.Carrier.
type Headers amqp.Table

var (
	_ guard.Carrier  = Headers(nil)
	_ notify.Carrier = Headers(nil)
)

// Get returns the value of key as text, or nothing.
func (h Headers) Get(key string) string {
	if values := h.Values(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set sets the value of key. The table must not be nil.
func (h Headers) Set(key, value string) { h[key] = value }

// Values returns the values of key: several if it is an array. A value that is no text is returned as Go prints
// it, so that a barrier which some client has garbled is rejected, and not taken for none.
func (h Headers) Values(key string) []string {
	value, ok := h[key]
	if !ok {
		return nil
	}
	array, ok := value.([]any)
	if !ok {
		return []string{text(value)}
	}
	values := make([]string, len(array))
	for i, v := range array {
		values[i] = text(v)
	}
	if len(values) == 0 {
		return []string{""} // there, and not a barrier
	}
	return values
}

func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []byte: // what clients without text send
		return string(v)
	}
	return fmt.Sprint(value)
}

// Inject puts the barrier of the context's transaction into a message, and makes its header table if there is none.
// Outside of a transaction it does nothing. On an error, see notify.Current, the message must not be sent.
func Inject(ctx context.Context, m *amqp.Publishing) error {
	headers := m.Headers
	if headers == nil {
		headers = amqp.Table{}
	}
	if err := notify.Inject(ctx, Headers(headers)); err != nil {
		return err
	}
	if len(headers) > 0 {
		m.Headers = headers
	}
	return nil
}
