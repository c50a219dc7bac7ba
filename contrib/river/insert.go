package guardriver

import (
	"context"
	"crypto/sha256"
	"encoding/json"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/notify"
)

// Inserts is the middleware of a client that inserts jobs, for river.Config's Middleware or Plugins: a job that is
// inserted with a context of a transaction (notify.BeginFunc, notify.WithTx) carries the transaction's barrier in its
// metadata. With any other context it carries none, besides those that InsertOpts.Metadata has.
//
// The key of a unique job is joined with its barriers, see [guard.DedupID]: inserting it again in the same transaction is
// skipped as a duplicate, inserting it in another one is not.
//
// On an error nothing was inserted: the transaction has ended, or has failed.
func Inserts() river.JobInsertMiddlewareFunc { return inserts }

func inserts(ctx context.Context, many []*rivertype.JobInsertParams, doInner func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
	for _, params := range many {
		if err := inject(ctx, params); err != nil {
			return nil, err
		}
	}
	return doInner(ctx)
}

func inject(ctx context.Context, params *rivertype.JobInsertParams) error {
	metadata, err := parse(params.Metadata)
	if err != nil {
		return err
	}
	if err := notify.Inject(ctx, metadata); err != nil {
		return err
	}
	tokens, err := guard.Extract(metadata)
	if err != nil || len(tokens) == 0 {
		return err
	}
	if params.Metadata, err = json.Marshal(metadata); err != nil {
		return err
	}

	// Try 1 of a transaction inserts the job and rolls back. With the bare key try 2 would be told that it is there.
	if len(params.UniqueKey) > 0 {
		key := string(params.UniqueKey)
		for _, t := range tokens {
			key = guard.DedupID(key, t)
		}
		joined := sha256.Sum256([]byte(key)) // as long as River's own keys
		params.UniqueKey = joined[:]
	}
	return nil
}
