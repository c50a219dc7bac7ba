package guardgrpc

import (
	"context"
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// patience is how long Do goes on for a context without a deadline: a call that waits for its own transaction fails
// then.
const patience = 30 * time.Second

// Do makes a call that carries the tokens, with the context that call is given, and returns its error. While the
// transactions are pending it makes the call again after the pauses that the server asks for, as long as ctx, or for 30 s
// if that has no deadline. call reads the stream's first message too, or its Header, if the method is a stream's: before
// that a client does not know whether the server handles it.
//
// If the handler was not called, the error is guard.ErrPending, guard.ErrMissing, or one of pgbarrier.ErrAborted,
// ErrExpired, ErrWrongDatabase and ErrInvalidToken, and still has the status that the server has answered. That holds
// for calls of a guarded server.
//
// Do must not be called inside the transaction that made a token: it would wait for itself.
func Do(ctx context.Context, call func(ctx context.Context) error, tokens ...pgbarrier.Token) error {
	over := time.Now().Add(patience)
	if deadline, ok := ctx.Deadline(); ok {
		over = deadline
	}
	ctx, err := Add(ctx, tokens...)
	if err != nil {
		return err
	}
	for {
		err := call(ctx)
		pause, refused := refusalOf(err)
		if refused == nil {
			return err
		}
		refusal := fmt.Errorf("%w: %w", refused, err)
		if pause == 0 || time.Now().Add(pause).After(over) {
			return refusal
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("%w (%w)", refusal, err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
