package notify

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Header is the name under which a message carries its barriers: one token or several, with commas
// between.
const Header = "pgbarrier"

// Carrier is what a message has for headers. http.Header, nats.Header, watermill's message.Metadata and
// OpenTelemetry's carriers are carriers as they are.
type Carrier interface {
	Get(key string) string // "" if there is none
	Set(key, value string)
}

// Inject puts the barrier of the context's transaction into a message, beside the tokens that it already
// carries. Outside of a transaction it does nothing. On an error (see [Current]) the message is as it was,
// and must not be sent.
func Inject(ctx context.Context, c Carrier) error {
	if scopeOf(ctx) == nil {
		return nil
	}
	if isNil(c) { // also a map that was never made, which panics when it is set
		return errNilCarrier
	}
	token, _, err := Current(ctx)
	if err != nil {
		return err
	}

	carried := carriedBy(c)
	if !slices.Contains(carried, token.String()) {
		c.Set(Header, strings.Join(append(carried, token.String()), ","))
	}
	return nil
}

// carriedBy returns the tokens that c carries. Of a name that is there twice, http.Header's Get returns the first
// alone, and Set replaces both.
func carriedBy(c Carrier) []string {
	values := []string{c.Get(Header)}
	if c, ok := c.(interface{ Values(key string) []string }); ok {
		values = c.Values(Header)
	}
	var tokens []string
	for token := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if token = strings.TrimSpace(token); token != "" {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

var errNilCarrier = errors.New("pgbarrier: inject the barrier: the carrier is nil: make the message's headers first")
