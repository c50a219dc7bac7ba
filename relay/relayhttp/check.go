package relayhttp

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// checkTries is how many relays a Check asks in vain.
const checkTries = 3

// Check asks once about the tokens, in one statement for those of a database, and does not wait for them. It asks up to
// three relays. An error tells nothing about the tokens.
func (c *Client) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	statuses := make([]pgbarrier.Status, len(tokens))
	at := make(map[uint32][]int) // places, by origin
	for i, t := range tokens {
		if err := t.Valid(); err != nil {
			return nil, fmt.Errorf("pgbarrier: check: %w", err)
		}
		at[t.Origin] = append(at[t.Origin], i)
	}
	for _, places := range at {
		request := checksRequest{Request: rand.Text()}
		for _, i := range places {
			request.Tokens = append(request.Tokens, tokens[i].String())
		}
		found, err := c.ask(ctx, request)
		if err != nil {
			return nil, err
		}
		for n, i := range places {
			statuses[i] = found[n]
		}
	}
	return statuses, nil
}

func (c *Client) ask(ctx context.Context, request checksRequest) ([]pgbarrier.Status, error) {
	for try := 1; ; try++ {
		statuses, err := c.askOnce(ctx, request)
		var refused *refusal
		definite := errors.As(err, &refused) && refused.code < http.StatusInternalServerError && refused.code != http.StatusTooManyRequests
		switch {
		case err == nil:
			c.answered()
			return statuses, nil
		case c.life.Err() != nil:
			return nil, pgbarrier.ErrClosed
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		c.failed(err)
		if definite || try == checkTries {
			return nil, fmt.Errorf("pgbarrier: relayhttp: check: %w", err)
		}
		timer := time.NewTimer(backoff(try, 50*time.Millisecond, time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-c.life.Done():
		}
		timer.Stop()
	}
}

func (c *Client) askOnce(ctx context.Context, request checksRequest) ([]pgbarrier.Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.Silence, errSilent)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	resp, err := c.post(ctx, checksPath, request)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var found checksAnswer
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64+64*int64(len(request.Tokens))))
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, fmt.Errorf("%w: %w", errNonsense, err)
	}
	if found.Request != request.Request || len(found.Outcomes) != len(request.Tokens) {
		return nil, fmt.Errorf("%w: it is for another request", errNonsense)
	}
	statuses := make([]pgbarrier.Status, len(found.Outcomes))
	for i, word := range found.Outcomes {
		status, known := statusOf(word)
		if !known {
			return nil, fmt.Errorf("%w: %.40q is no outcome", errNonsense, word)
		}
		statuses[i] = status
	}
	return statuses, nil
}
