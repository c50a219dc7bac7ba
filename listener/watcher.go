package listener

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

const (
	// A watch statement is short at first, so that what comes after it has begun is watched soon, and
	// never long: it would be logged as slow, and hold up vacuum.
	minPatience, maxPatience = 3 * time.Millisecond, 50 * time.Millisecond
	// lookShare: what has been pending for an age is looked at after a thousandth of it.
	lookShare = 1000
	// slowestLook: what would be looked at less often is left to the checks.
	slowestLook = 25 * time.Millisecond
	// mostWatched bounds what a look costs, about 0.2 µs a transaction. More are left to the checks.
	mostWatched = 250
)

// A watcher keeps one statement in the server that answers when a transaction ends that is waited for.
// It makes waits end sooner that are not announced; they would end without it, by checks. It pays
// because a look costs a fraction of a check, and no look costs anything while nothing is pending.
type watcher struct {
	waits *waitSet
	watch func(ctx context.Context, tokens []pgbarrier.Token, xids []uint64, patience, pause time.Duration) (pgbarrier.Judgement, error)
	pace  pace
	rest  rest
	log   *slog.Logger

	failures int // in a row
}

// run watches whenever there is something to watch, until ctx ends.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		tokens, xids, youngest := w.waits.toWatch(fewTokens, mostWatched)
		begun := time.Now()
		age := begun.Sub(youngest)
		pause := max(age/lookShare, w.pace.minDelay)
		if len(tokens)+len(xids) == 0 || pause > slowestLook {
			w.rest(ctx, time.Time{}, w.waits.watch)
			continue
		}
		patience := min(max(age, minPatience), maxPatience)
		w.waits.watchedUntil(begun.Add(maxPatience + watchedDelay)) // the server may take longer than asked
		judgement, err := w.watch(ctx, tokens, xids, patience, pause)
		if err != nil {
			w.waits.watchedUntil(time.Time{})
			if ctx.Err() == nil {
				w.failed(ctx, err)
			}
			continue
		}
		w.failures = 0
		useful := w.waits.judged(tokens, judgement.Statuses, ByWatch) > 0
		useful = w.waits.sawEnded(xids, judgement.Snapshot) || useful
		switch took := time.Since(begun); {
		case useful:
			w.rest.sleep(ctx, w.pace.minDelay-took)
		case took < patience:
			// It saw an end that no check can make anything of yet.
			w.rest.sleep(ctx, max(age/ageShare, w.pace.minDelay))
		}
	}
}

// failed waits before the next attempt, and logs the first failure.
func (w *watcher) failed(ctx context.Context, err error) {
	w.failures++
	delay := w.pace.afterFailures(w.failures)
	level := slog.LevelInfo // the checks tell of an outage
	if !pgbarrier.IsOutage(err) && !errors.Is(err, pgbarrier.ErrStandby) {
		delay, level = time.Minute, slog.LevelWarn // a missing grant, most likely
	}
	if w.failures == 1 {
		w.log.Log(ctx, level, "pgbarrier: cannot watch, waits that are not announced end a little later", "error", err)
	}
	w.rest.sleep(ctx, delay)
}
