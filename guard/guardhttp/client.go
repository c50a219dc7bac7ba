package guardhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// patience is how long Do goes on for a context without a deadline: a call that waits for its own
// transaction fails then.
const patience = 30 * time.Second

// Do sends a request that carries the tokens, besides those that its headers carry already, and returns the
// handler's answer. While the transactions are pending it sends the request again after the pauses that
// [Middleware] asks for, as long as the request's context, or for 30 s if that has no deadline.
//
// If the handler was not called, the error is guard.ErrPending, guard.ErrMissing, or one of
// pgbarrier.ErrAborted, ErrExpired, ErrWrongDatabase and ErrInvalidToken, and there is no answer. A request
// whose body cannot be read again, because GetBody is not set, is sent once.
//
// Do must not be called inside the transaction that made a token: it would wait for itself.
func Do(client *http.Client, req *http.Request, tokens ...pgbarrier.Token) (*http.Response, error) {
	if client == nil {
		client = http.DefaultClient
	}
	ctx := req.Context()
	over := time.Now().Add(patience)
	if deadline, ok := ctx.Deadline(); ok {
		over = deadline
	}
	req = req.Clone(ctx)
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if err := guard.Add(req.Header, tokens...); err != nil {
		return nil, err
	}
	for {
		resp, err := client.Do(req)
		if err != nil || resp.Header.Get(VerdictHeader) == "" {
			return resp, err
		}
		pause, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		_ = resp.Body.Close()
		refusal := fmt.Errorf("%w: %s: %.200q", errorOf(resp.StatusCode), resp.Status, text)
		after := max(time.Second, time.Duration(pause)*time.Second)
		if !errors.Is(refusal, guard.ErrPending) || req.Body != nil && req.GetBody == nil || time.Now().Add(after).After(over) {
			return nil, refusal
		}
		if err := sleep(ctx, after); err != nil {
			return nil, fmt.Errorf("%w (%w)", refusal, err)
		}
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// errorOf is the error that a refusal's status stands for.
func errorOf(status int) error {
	switch status {
	case http.StatusConflict:
		return pgbarrier.ErrAborted
	case http.StatusGone:
		return pgbarrier.ErrExpired
	case http.StatusMisdirectedRequest:
		return pgbarrier.ErrWrongDatabase
	case http.StatusBadRequest:
		return pgbarrier.ErrInvalidToken
	case http.StatusPreconditionRequired:
		return guard.ErrMissing
	}
	return guard.ErrPending
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
