package relayhttp

import (
	"encoding/json"
	"net/http"

	"github.com/pgbarrier/pgbarrier"
)

const (
	barriersPath = "/v1/barriers/"
	waitsPath    = "/v1/waits"
	checksPath   = "/v1/checks"
)

// waitsRequest is the body of POST /v1/waits. Its request names it in the answer, so that an answer for another one
// is noticed.
type waitsRequest struct {
	Request string        `json:"request"`
	WaitMS  int64         `json:"wait_ms"` // the answer ends after so long
	PingMS  int64         `json:"ping_ms"` // an empty object is sent when nothing else was for so long
	Waits   []waitRequest `json:"waits"`
}

// waitRequest is a wait for all of its tokens. The id is the client's.
type waitRequest struct {
	ID     uint64   `json:"id"`
	Tokens []string `json:"tokens"`
}

// A line of the answer of POST /v1/waits. The first has the request, and the last says why it is the last; those
// between have the outcome or the error of a wait each. One without anything is a ping.
type line struct {
	Request string `json:"request,omitempty"`

	ID      uint64 `json:"id,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	// Token is the one that decided: the wait's first if all are committed.
	Token string `json:"token,omitempty"`
	Error string `json:"error,omitempty"`

	End string `json:"end,omitempty"`
}

// What a line's End may be.
const (
	endAll   = "all waits have ended"
	endTime  = "time is over"
	endDrain = "draining: ask another relay"
)

// checksRequest is the body of POST /v1/checks, checksAnswer the answer.
type checksRequest struct {
	Request string   `json:"request"`
	Tokens  []string `json:"tokens"`
}

type checksAnswer struct {
	Request  string   `json:"request"`
	Outcomes []string `json:"outcomes"` // in the order of the tokens
}

// An answer is the body of every answer but those above.
type answer struct {
	Outcome string `json:"outcome,omitempty"`
	Token   string `json:"token,omitempty"`   // that the outcome is of, if it is one of several
	Problem string `json:"problem,omitempty"` // what is wrong with an invalid token
	Error   string `json:"error,omitempty"`   // there is no outcome
}

var codes = [...]int{
	pgbarrier.Pending:       http.StatusServiceUnavailable,
	pgbarrier.Committed:     http.StatusOK,
	pgbarrier.Aborted:       http.StatusConflict,
	pgbarrier.Expired:       http.StatusGone,
	pgbarrier.WrongDatabase: http.StatusMisdirectedRequest,
	pgbarrier.Invalid:       http.StatusBadRequest,
}

// statusOf returns the status with that name, and whether there is one.
func statusOf(word string) (pgbarrier.Status, bool) {
	for status := range codes {
		if s := pgbarrier.Status(status); s.String() == word {
			return s, true
		}
	}
	return 0, false
}

// parseTokens returns the tokens, or the first error.
func parseTokens(texts []string) ([]pgbarrier.Token, error) {
	tokens := make([]pgbarrier.Token, len(texts))
	for i, text := range texts {
		var err error
		if tokens[i], err = pgbarrier.ParseToken(text); err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

func texts(tokens []pgbarrier.Token) []string {
	texts := make([]string, len(tokens))
	for i, t := range tokens {
		texts[i] = t.String()
	}
	return texts
}

// writeJSON writes the body of an answer that is one object.
func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}
