package guardriver

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier/guard"
)

// retryTimeout bounds what is done to hasten one job, so that a database that does not answer holds up nothing else.
const retryTimeout = 10 * time.Second

var errRunning = errors.New("pgbarrier: river has not snoozed the job yet")

// hasten makes a job that is being snoozed run as soon as its transactions have ended.
func (w *worker) hasten(ctx context.Context, job *rivertype.JobRow, d guard.Decision) {
	client, err := river.ClientFromContextSafely[pgx.Tx](ctx)
	if err != nil {
		return // another driver's: the job comes by itself
	}
	snoozed := *job // as it was fetched
	w.guard.Wake(w.ctx, d, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, retryTimeout)
		defer cancel()
		return w.retry(ctx, client, &snoozed)
	})
}

// retry makes the job available if it is still as we have snoozed it. What has run meanwhile must not run again:
// JobRetry takes a job out of any state but running, also a completed one. An error means that it should be tried
// again.
func (w *worker) retry(ctx context.Context, client *river.Client[pgx.Tx], snoozed *rivertype.JobRow) error {
	return pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		// Updates nothing, and locks the row as it is now.
		job, err := client.JobUpdateTx(ctx, tx, snoozed.ID, nil)
		switch {
		case errors.Is(err, rivertype.ErrNotFound):
			return nil
		case err != nil:
			return err
		case !sameRun(job, snoozed):
			return nil
		case job.State == rivertype.JobStateRunning:
			return errRunning
		case job.State != rivertype.JobStateAvailable && job.State != rivertype.JobStateScheduled,
			job.Attempt >= snoozed.Attempt: // the attempt counts: it was no snooze
			return nil
		}
		if _, err := client.JobRetryTx(ctx, tx, job.ID); err != nil {
			return err
		}
		return announce(ctx, tx, client.Schema(), job.Queue)
	})
}

// sameRun reports whether nobody has fetched the job since the run that has snoozed it.
func sameRun(job, snoozed *rivertype.JobRow) bool {
	return job.AttemptedAt != nil && snoozed.AttemptedAt != nil && job.AttemptedAt.Equal(*snoozed.AttemptedAt) &&
		slices.Equal(job.AttemptedBy, snoozed.AttemptedBy)
}

// announce tells the clients that there is a job to fetch, as River does when it inserts one. JobRetry does not, and the
// job would come with the next FetchPollInterval; and so it will if a later version of River listens elsewhere.
func announce(ctx context.Context, tx pgx.Tx, schema, queue string) error {
	payload, err := json.Marshal(map[string]string{"queue": queue})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SELECT pg_notify(coalesce(nullif($1, ''), current_schema()) || '.river_insert', $2)", schema, string(payload))
	return err
}
