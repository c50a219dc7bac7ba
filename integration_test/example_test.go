package integration_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
)

// A worker that waits with a listener: one transaction commits, one rolls back.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	pool := examplePool(ctx)
	defer pool.Close()
	barriers, err := listener.New(pool, listener.Config{})
	if err != nil {
		panic(err)
	}
	stopped := make(chan error)
	go func() { stopped <- barriers.Run(ctx) }()

	for _, end := range []func(pgx.Tx) error{
		func(tx pgx.Tx) error { return tx.Commit(ctx) },
		func(tx pgx.Tx) error { return tx.Rollback(ctx) },
	} {
		tx, err := pool.Begin(ctx)
		if err != nil {
			panic(err)
		}
		token, err := notify.Create(ctx, tx)
		if err != nil {
			panic(err)
		}
		go func() { _ = end(tx) }()
		err = barriers.Wait(ctx, token)
		fmt.Println("committed:", err == nil, "aborted:", errors.Is(err, pgbarrier.ErrAborted))
	}
	stop()
	fmt.Println("listener:", <-stopped)
	// Output:
	// committed: true aborted: false
	// committed: false aborted: true
	// listener: context canceled
}

// A barrier that costs no round trip of its own, and a wait without a listener.
func Example_batch() {
	ctx := context.Background()
	pool := examplePool(ctx)
	defer pool.Close()

	var token pgbarrier.Token
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue("SELECT 'the changes'")
		notify.Queue(batch, &token)
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("outcome:", pgbarrier.Poll(ctx, pool, token))
	// Output: outcome: <nil>
}

// Producers in other languages: the token comes from SQL.
func Example_anyLanguage() {
	ctx := context.Background()
	pool := examplePool(ctx)
	defer pool.Close()

	var text string
	if err := pool.QueryRow(ctx, "SELECT pgbarrier.create()").Scan(&text); err != nil {
		panic(err)
	}
	token, err := pgbarrier.ParseToken(text)
	if err != nil {
		panic(err)
	}
	statuses, err := pgbarrier.Check(ctx, pool, token)
	fmt.Println(statuses[0], err)
	// Output: committed <nil>
}

// examplePool leads to a fresh database with the schema.
func examplePool(ctx context.Context) *pgxpool.Pool {
	url, err := server.CreateDatabase(ctx)
	if err != nil {
		panic(err)
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		panic(err)
	}
	if err := pgbarrier.Migrate(ctx, pool); err != nil {
		panic(err)
	}
	return pool
}
