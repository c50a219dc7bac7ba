package relayhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// readTimeout is how long a client may take to send its request.
const readTimeout = 10 * time.Second

// postChecks is POST /v1/checks.
func (h *Handler) postChecks(w http.ResponseWriter, r *http.Request) {
	var request checksRequest
	if err := h.read(w, r, &request); err != nil {
		h.refuse(w, r, err)
		return
	}
	tokens, err := parseTokens(request.Tokens)
	if err != nil {
		h.refuse(w, r, fmt.Errorf("%w: %w", errBadRequest, err))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	statuses, err := h.relay.Check(ctx, tokens...)
	switch {
	case r.Context().Err() != nil:
		return
	case errors.Is(err, context.DeadlineExceeded):
		h.refuse(w, r, errNoAnswer)
		return
	case err != nil:
		h.refuse(w, r, err)
		return
	}
	found := checksAnswer{Request: request.Request, Outcomes: make([]string, len(statuses))}
	for i, status := range statuses {
		found.Outcomes[i] = status.String()
	}
	writeJSON(w, http.StatusOK, found)
}

// read reads the request's body, which is one JSON object.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, into any) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(readTimeout)) // not every http.ResponseWriter can
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.config.MaxBody))
	if err == nil {
		// Without a deadline again: whether the client is still there is seen by reading on.
		_ = control.SetReadDeadline(time.Time{})
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return fmt.Errorf("%w: the body: %w", errBadRequest, err)
	}
	return nil
}
