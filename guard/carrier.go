package guard

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pgbarrier/pgbarrier"
)

// Header is the key under which a message carries its barriers: the text of one token, or of several
// with commas between. It is legal as a key in HTTP, gRPC, AMQP, NATS, Kafka and SQS.
const Header = "pgbarrier"

// maxTokens bounds what one message can ask for: 70 kB of text, and one check.
const maxTokens = 1000

// Carrier is where a message keeps its headers. http.Header, nats.Header, watermill's
// message.Metadata and OpenTelemetry's text map carriers are carriers as they are; for a plain map
// there is [Map].
//
// A carrier whose keys can have several values should also have Values(key string) []string, as
// http.Header does: all of them count then.
type Carrier interface {
	Get(key string) string
	Set(key, value string)
}

// Map is a plain map as a [Carrier].
type Map map[string]string

// Get returns the value of key, or nothing.
func (m Map) Get(key string) string { return m[key] }

// Set sets the value of key. The map must not be nil.
func (m Map) Set(key, value string) { m[key] = value }

// Values returns the one value of key, or none.
func (m Map) Values(key string) []string {
	if value, ok := m[key]; ok {
		return []string{value}
	}
	return nil
}

// Extract returns the tokens that a message carries, each once, in their order; none if it carries
// none. The error is a pgbarrier.ErrInvalidToken: with a value that is empty, cut off or garbled in
// any place, nothing is known of the message's transaction.
func Extract(c Carrier) ([]pgbarrier.Token, error) {
	var tokens []pgbarrier.Token
	read := 0
	for _, value := range values(c) {
		for text := range strings.SplitSeq(value, ",") {
			if read++; read > maxTokens {
				return nil, fmt.Errorf("pgbarrier: header %q: %w: it has more than %d tokens", Header, pgbarrier.ErrInvalidToken, maxTokens)
			}
			// Whoever joins the lines of a header adds a space (RFC 9110, 5.3).
			token, err := pgbarrier.ParseToken(strings.Trim(text, " \t"))
			if err != nil {
				return nil, fmt.Errorf("pgbarrier: header %q: %w", Header, err)
			}
			if !slices.Contains(tokens, token) {
				tokens = append(tokens, token)
			}
		}
	}
	return tokens, nil
}

// Add makes a message carry the tokens, besides those that it carries already. On an error the
// message is left as it was.
func Add(c Carrier, tokens ...pgbarrier.Token) error {
	if v := reflect.ValueOf(c); !v.IsValid() || (v.Kind() == reflect.Map || v.Kind() == reflect.Pointer) && v.IsNil() {
		return errors.New("pgbarrier: the message has no headers to carry a token in: make them first")
	}
	carried, err := Extract(c)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if err := t.Valid(); err != nil {
			return fmt.Errorf("pgbarrier: header %q: %w", Header, err)
		}
		if !slices.Contains(carried, t) {
			carried = append(carried, t)
		}
	}
	if len(carried) == 0 {
		return nil
	}
	if len(carried) > maxTokens {
		return fmt.Errorf("pgbarrier: header %q: %d tokens, a message carries %d at most", Header, len(carried), maxTokens)
	}
	texts := make([]string, len(carried))
	for i, t := range carried {
		texts[i] = t.String()
	}
	c.Set(Header, strings.Join(texts, ","))
	return nil
}

// values returns all values of the header. A carrier that only has Get does not tell an empty value
// from none.
func values(c Carrier) []string {
	if c == nil {
		return nil
	}
	if several, ok := c.(interface{ Values(key string) []string }); ok {
		return several.Values(Header)
	}
	if value := c.Get(Header); value != "" {
		return []string{value}
	}
	return nil
}
