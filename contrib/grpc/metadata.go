package guardgrpc

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// Add returns a context whose calls carry the tokens, besides those that they carry already. On an error no call must be
// made.
//
// A call with it must not be made inside the transaction that made a token: it would wait for itself.
func Add(ctx context.Context, tokens ...pgbarrier.Token) (context.Context, error) {
	outgoing, _ := metadata.FromOutgoingContext(ctx) // a copy
	if outgoing == nil {
		outgoing = metadata.MD{}
	}
	if err := guard.Add(carrier(outgoing), tokens...); err != nil {
		return nil, err
	}
	return metadata.NewOutgoingContext(ctx, outgoing), nil
}

// carrier is metadata as a guard.Carrier. Of a key that is there several times, as when a proxy adds a token, all values
// count.
type carrier metadata.MD

// Get returns the first value of key, or nothing.
func (c carrier) Get(key string) string {
	for _, value := range c.Values(key) {
		return value
	}
	return ""
}

// Values returns the values of key.
func (c carrier) Values(key string) []string { return metadata.MD(c).Get(key) }

// Set replaces the values of key.
func (c carrier) Set(key, value string) { metadata.MD(c).Set(key, value) }
