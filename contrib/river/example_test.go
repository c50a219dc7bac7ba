package guardriver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier"
	guardriver "github.com/pgbarrier/pgbarrier/contrib/river"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

type ShipArgs struct {
	Order int    `json:"order" river:"unique"`
	By    string `json:"by"`
}

func (ShipArgs) Kind() string { return "ship" }

func Example() {
	ctx, stop := context.WithCancel(context.Background()) // signal.NotifyContext in a program
	defer stop()
	pool, err := pgxpool.New(ctx, os.Getenv("EXAMPLE_DATABASE_URL"))
	check(err)
	defer pool.Close()
	check(pgbarrier.Migrate(ctx, pool))
	riverPool, err := pgxpool.New(ctx, os.Getenv("EXAMPLE_RIVER_URL")) // another database
	check(err)
	defer riverPool.Close()
	silent := slog.New(slog.DiscardHandler)
	migrator, err := rivermigrate.New(riverpgxv5.New(riverPool), &rivermigrate.Config{Logger: silent})
	check(err)
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	check(err)

	// The worker.
	barriers, err := listener.New(pool, listener.Config{})
	check(err)
	listens := make(chan error, 1)
	go func() { listens <- barriers.Run(ctx) }()
	defer func() { stop(); <-listens }()

	g, err := guard.New(barriers, guard.Config{Slots: 5})
	check(err)
	shipped := make(chan string)
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(ctx context.Context, job *river.Job[ShipArgs]) error {
		shipped <- job.Args.By
		return nil
	}))
	cfg := &river.Config{Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}}, Workers: workers, Logger: silent}
	check(guardriver.Configure(ctx, cfg, g, riverPool))
	worker, err := river.NewClient(riverpgxv5.New(riverPool), cfg)
	check(err)
	check(worker.Start(context.WithoutCancel(ctx)))
	defer func() { stop(); check(worker.Stop(context.Background())) }()

	// The producer: the first try rolls back, the second commits.
	client, err := river.NewClient(riverpgxv5.New(riverPool), &river.Config{
		Middleware: []rivertype.Middleware{guardriver.Inserts()},
	})
	check(err)
	order := func(try string, result error) error {
		return notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
			opts := &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
			if _, err := client.Insert(ctx, ShipArgs{Order: 7, By: try}, opts); err != nil {
				return err
			}
			return result
		})
	}
	fmt.Println("try 1:", order("sent by try 1", errors.New("out of stock")))
	fmt.Println("try 2:", order("sent by try 2", nil))
	fmt.Println(<-shipped)
	// Output:
	// try 1: out of stock
	// try 2: <nil>
	// sent by try 2
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
