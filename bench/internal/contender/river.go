package contender

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverContender enqueues with InsertTx, as River's README shows it: one client that inserts and works.
// Tuned to the lowest latency: FetchCooldown and FetchPollInterval are at their documented minimum, and many
// workers leave room for bigger fetches.
func riverContender() Contender {
	config := river.Config{
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1000}},
		FetchCooldown: river.FetchCooldownMin, FetchPollInterval: river.FetchPollIntervalMin,
	}
	c := Contender{
		Name:   "River tuned",
		About:  "v0.51.2, InsertTx, MaxWorkers 1000, FetchCooldown and FetchPollInterval at their minimum of 1 ms",
		Period: pollPeriod,
	}
	c.Clear = "TRUNCATE river_job"
	c.Install = func(ctx context.Context, pool *pgxpool.Pool) error {
		migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: silent})
		if err != nil {
			return err
		}
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		return err
	}
	c.Start = func(ctx context.Context, url string, _ int) (Worker, error) { return startRiver(ctx, url, config) }
	return c
}

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

type rowArgs struct {
	Row int64 `json:"row"`
}

// Kind implements river.JobArgs.
func (rowArgs) Kind() string { return "row" }

type riverHandler struct {
	river.WorkerDefaults[rowArgs]
	board *board
}

// Work implements river.Worker.
func (h *riverHandler) Work(_ context.Context, job *river.Job[rowArgs]) error {
	if j := h.board.take(job.Args.Row); j != nil {
		j.Run()
	}
	return nil
}

type riverWorker struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	board  *board
}

func startRiver(ctx context.Context, url string, config river.Config) (Worker, error) {
	pool, err := poolOf(ctx, url, 10)
	if err != nil {
		return nil, err
	}
	w := &riverWorker{pool: pool, board: newBoard()}
	config.Workers = river.NewWorkers()
	config.Logger = silent
	river.AddWorker(config.Workers, &riverHandler{board: w.board})
	if w.client, err = river.NewClient(riverpgxv5.New(pool), &config); err != nil {
		pool.Close()
		return nil, err
	}
	// River stops when this context ends; Close stops it.
	if err := w.client.Start(context.WithoutCancel(ctx)); err != nil {
		pool.Close()
		return nil, err
	}
	return w, nil
}

// Produce implements Worker.
func (w *riverWorker) Produce(ctx context.Context, tx pgx.Tx, job *Job) error {
	w.board.add(job)
	if _, err := tx.Exec(ctx, InsertRow, job.ID); err != nil {
		return err
	}
	_, err := w.client.InsertTx(ctx, tx, rowArgs{Row: job.ID}, nil)
	return err
}

// Close implements Worker.
func (w *riverWorker) Close() error {
	defer w.pool.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return w.client.StopAndCancel(ctx)
}
