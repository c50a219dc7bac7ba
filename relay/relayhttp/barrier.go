package relayhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// maxNamed bounds the tokens in a path: some 7 kB, which most proxies let through.
const maxNamed = 100

// checkTimeout bounds a look, in which an unreachable database would be waited for.
const checkTimeout = 5 * time.Second

var errStopped = errors.New("pgbarrier: relayhttp: the relay stops: ask another one")

// getBarrier is GET /v1/barriers/{tokens}?wait=30s.
func (h *Handler) getBarrier(w http.ResponseWriter, r *http.Request) {
	patience, err := parseWait(r.URL.Query().Get("wait"))
	if err != nil {
		h.refuse(w, r, fmt.Errorf("%w: wait: %w", errBadRequest, err))
		return
	}
	named := strings.Split(r.PathValue("tokens"), ",")
	if len(named) > maxNamed {
		h.refuse(w, r, fmt.Errorf("%w: %d tokens, a path may have %d: POST them to %s", errBadRequest, len(named), maxNamed, waitsPath))
		return
	}
	tokens, err := parseTokens(named)
	if err != nil {
		writeJSON(w, codes[pgbarrier.Invalid], answer{Outcome: pgbarrier.Invalid.String(), Problem: err.Error()})
		return
	}

	var status pgbarrier.Status
	var of pgbarrier.Token
	if patience > 0 {
		status, of, err = h.await(r.Context(), min(patience, h.config.MaxWait), tokens)
	} else {
		status, of, err = h.look(r.Context(), tokens)
	}
	switch {
	case r.Context().Err() != nil: // nobody is there any more
	case err != nil:
		h.refuse(w, r, err)
	default:
		if status == pgbarrier.Pending {
			retryAfter(w, http.StatusServiceUnavailable)
		}
		a := answer{Outcome: status.String()}
		if !of.IsZero() {
			a.Token = of.String()
		}
		writeJSON(w, codes[status], a)
	}
}

// parseWait reads a duration such as 30s, or seconds.
func parseWait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%.40q is not a duration such as 30s", text)
	}
	return d, nil
}

// await waits for all of the tokens, for patience at most.
func (h *Handler) await(ctx context.Context, patience time.Duration, tokens []pgbarrier.Token) (pgbarrier.Status, pgbarrier.Token, error) {
	session := h.relay.Open(nil)
	defer session.Close()
	ended := make(chan error, 1)
	if _, err := session.WaitFunc(func(err error) { ended <- err }, tokens...); err != nil {
		return 0, pgbarrier.Token{}, err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-ended:
		return verdict(err)
	case <-timer.C:
	case <-ctx.Done():
	case <-h.relay.Draining():
		select {
		case err := <-ended:
			return verdict(err)
		default:
			return 0, pgbarrier.Token{}, errStopped
		}
	}
	return pgbarrier.Pending, pgbarrier.Token{}, nil
}

// verdict is what a wait ended with, and of which token if it is not committed.
func verdict(err error) (pgbarrier.Status, pgbarrier.Token, error) {
	if err == nil {
		return pgbarrier.Committed, pgbarrier.Token{}, nil
	}
	var of *pgbarrier.TokenError
	if errors.As(err, &of) {
		for status := range codes {
			s := pgbarrier.Status(status)
			if bad := s.Err(of.Token); bad != nil && errors.Is(of.Err, errors.Unwrap(bad)) {
				return s, of.Token, nil
			}
		}
	}
	return 0, pgbarrier.Token{}, err
}

// look asks once. Of several tokens the first that is not committed counts, and one that is not pending before that.
func (h *Handler) look(ctx context.Context, tokens []pgbarrier.Token) (pgbarrier.Status, pgbarrier.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	statuses, err := h.relay.Check(ctx, tokens...)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = errNoAnswer
		}
		return 0, pgbarrier.Token{}, err
	}
	found := pgbarrier.Committed
	for i, status := range statuses {
		switch status {
		case pgbarrier.Committed:
		case pgbarrier.Pending:
			found = pgbarrier.Pending
		default:
			return status, tokens[i], nil
		}
	}
	return found, pgbarrier.Token{}, nil
}

var errNoAnswer = errors.New("pgbarrier: relayhttp: the database does not answer: ask again later")
