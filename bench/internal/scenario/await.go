package scenario

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/notify"
)

// awaitEnd creates in tx what a wait needs and begins the wait. The channel says whether the transaction
// committed. Only the contenders that can tell an abort are there.
func awaitEnd(ctx context.Context, w contender.Worker, tx pgx.Tx) (<-chan bool, error) {
	ended := make(chan bool, 1)
	switch w := w.(type) {
	case *contender.ListenerWorker:
		token, err := notify.Create(ctx, tx)
		if err != nil {
			return nil, err
		}
		sub := w.Subscribe(token)
		w.Go(func() {
			<-sub.Done()
			ended <- sub.Err() == nil
		})
	case *contender.LockWaitWorker:
		var batch pgx.Batch
		key := w.QueueKey(&batch)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return nil, err
		}
		w.Await(key, func(committed bool) { ended <- committed })
	default:
		return nil, fmt.Errorf("a %T does not tell of aborts", w)
	}
	return ended, nil
}

// checksOf returns how many checks a listener has made, 0 for other workers.
func checksOf(w contender.Worker) uint64 {
	if w, ok := w.(*contender.ListenerWorker); ok {
		return w.Stats().Checks
	}
	return 0
}
