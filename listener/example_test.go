package listener_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// The examples that run, against a real server, are in integration_test/example_test.go.

func ExampleListener_Wait() {
	ctx := context.Background()
	var pool *pgxpool.Pool    // from pgxpool.New
	var token pgbarrier.Token // from the message

	l, err := listener.New(pool, listener.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { fmt.Println("listener:", l.Run(ctx)) }()

	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	switch err := l.Wait(limited, token); {
	case err == nil:
		fmt.Println("committed: do the work")
	case errors.Is(err, pgbarrier.ErrAborted):
		fmt.Println("aborted: drop the message")
	default:
		fmt.Println("no outcome, let the queue deliver the message again:", err)
	}
}

func ExampleListener_Subscribe() {
	var l *listener.Listener  // from listener.New
	var token pgbarrier.Token // from the message
	var shutdown <-chan struct{}

	barrier := l.Subscribe(token)
	defer barrier.Close()
	select {
	case <-barrier.Done():
		fmt.Println("outcome:", barrier.Err())
	case <-shutdown:
		fmt.Println("no outcome yet")
	}
}
