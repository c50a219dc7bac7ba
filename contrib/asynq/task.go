package guardasynq

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/hibiken/asynq"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/notify"
)

var errUnique = errors.New("pgbarrier: asynq.Unique in a transaction loses work: use asynq.TaskID")

// NewTask is asynq.NewTask with the barrier of the context's transaction (notify.WithTx, notify.BeginFunc) in the task's
// headers. Outside of a transaction the task carries none.
//
// An asynq.TaskID among the options is joined with the barrier, see [guard.DedupID]: what identifies the task in the
// Inspector is the ID that Enqueue returns. Enqueueing it again in the same transaction is asynq.ErrTaskIDConflict,
// which then says that redis has the task. asynq.Unique is refused in a transaction.
//
// On an error nothing must be sent: the transaction has ended, or has failed.
func NewTask(ctx context.Context, typename string, payload []byte, opts ...asynq.Option) (*asynq.Task, error) {
	return NewTaskWithHeaders(ctx, typename, payload, nil, opts...)
}

// NewTaskWithHeaders is [NewTask] for a task that has headers, which may carry barriers already: it waits for all of
// them. The map is not changed.
func NewTaskWithHeaders(ctx context.Context, typename string, payload []byte, headers map[string]string, opts ...asynq.Option) (*asynq.Task, error) {
	carrier := guard.Map(maps.Clone(headers))
	if carrier == nil {
		carrier = guard.Map{}
	}
	if err := notify.Inject(ctx, carrier); err != nil {
		return nil, err
	}
	tokens, err := guard.Extract(carrier)
	if err != nil {
		return nil, err
	}
	if opts, err = withBarriers(opts, tokens); err != nil {
		return nil, err
	}
	return asynq.NewTaskWithHeaders(typename, payload, carrier, opts...), nil
}

// withBarriers returns the options with task ids that differ from those of every other transaction.
func withBarriers(opts []asynq.Option, tokens []pgbarrier.Token) ([]asynq.Option, error) {
	if len(tokens) == 0 {
		return opts, nil
	}
	joined := make([]asynq.Option, len(opts))
	for i, opt := range opts {
		joined[i] = opt
		switch opt.Type() {
		case asynq.UniqueOpt:
			return nil, errUnique
		case asynq.TaskIDOpt:
			id, _ := opt.Value().(string)
			if strings.TrimSpace(id) == "" {
				continue // which Enqueue refuses
			}
			for _, t := range tokens {
				if !strings.Contains(id, t.ID.String()) { // unless the caller has called DedupID
					id = guard.DedupID(id, t)
				}
			}
			joined[i] = asynq.TaskID(id)
		}
	}
	return joined, nil
}
