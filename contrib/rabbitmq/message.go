package guardrabbitmq

import (
	"maps"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A message that is parked is published again, to another queue. What that changes is kept in these headers.
const (
	headerFailures   = "pgbarrier-failures" // how often its handler has failed
	headerExchange   = "pgbarrier-exchange"
	headerRoutingKey = "pgbarrier-routing-key"
	headerCC         = "pgbarrier-cc"

	cc = "CC" // further routing keys: published again, the message would be sent there again
)

// A message is a delivery as its producer has sent it.
type message struct {
	amqp.Delivery
	failures int
}

// restore undoes what parking has changed.
func restore(d amqp.Delivery, work string) *message {
	m := &message{Delivery: d}
	m.Headers = maps.Clone(d.Headers)
	switch n := m.Headers[headerFailures].(type) {
	case int32:
		m.failures = int(n)
	case int64:
		m.failures = int(n)
	}
	if key, ok := m.Headers[headerRoutingKey].(string); ok {
		m.RoutingKey = key
		m.Exchange, _ = m.Headers[headerExchange].(string)
		delete(m.Headers, headerRoutingKey)
		delete(m.Headers, headerExchange)
	}
	if v, ok := m.Headers[headerCC]; ok {
		m.Headers[cc] = v
		delete(m.Headers, headerCC)
	}
	forgetDeaths(m.Headers, work)
	return m
}

// forgetDeaths removes what the broker notes when it moves a message out of a parking queue, and leaves what it notes
// about other queues: those who count these count what they mean to.
func forgetDeaths(headers amqp.Table, work string) {
	deaths, ok := headers["x-death"].([]any)
	if !ok {
		return
	}
	var kept []any
	for _, death := range deaths {
		table, _ := death.(amqp.Table)
		if queue, _ := table["queue"].(string); !strings.HasPrefix(queue, work+infix) {
			kept = append(kept, death)
		}
	}
	headers["x-death"] = kept
	if len(kept) == 0 {
		delete(headers, "x-death")
	}
	for _, which := range []string{"x-first-death-", "x-last-death-"} {
		if queue, _ := headers[which+"queue"].(string); strings.HasPrefix(queue, work+infix) {
			for _, what := range []string{"queue", "reason", "exchange"} {
				delete(headers, which+what)
			}
		}
	}
}

// publishing returns the message to be published again. It has no user id, which the broker compares with ours, and
// no expiration, which was for the time until somebody takes it.
func (m *message) publishing() amqp.Publishing {
	headers := maps.Clone(m.Headers)
	if headers == nil {
		headers = amqp.Table{}
	}
	delete(headers, "x-delivery-count") // of a quorum queue, which counts anew
	headers[headerExchange], headers[headerRoutingKey] = m.Exchange, m.RoutingKey
	if v, ok := headers[cc]; ok {
		headers[headerCC] = v
		delete(headers, cc)
	}
	if m.failures > 0 {
		headers[headerFailures] = int32(m.failures)
	}
	return amqp.Publishing{
		Headers: headers, ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, DeliveryMode: m.DeliveryMode,
		Priority: m.Priority, CorrelationId: m.CorrelationId, ReplyTo: m.ReplyTo, MessageId: m.MessageId,
		Timestamp: m.Timestamp, Type: m.Type, AppId: m.AppId, Body: m.Body,
	}
}
