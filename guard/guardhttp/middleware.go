package guardhttp

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
)

// VerdictHeader is in the answer to a request that was not handled. It has the verdict (drop, later, reject)
// and tells such an answer from one of the handler's.
const VerdictHeader = "Pgbarrier-Verdict"

// Middleware calls the next handler for requests whose transactions have committed, and answers the others
// itself. A request waits as long as g's budget, and no longer than its client.
func Middleware(g *guard.Guard) func(next http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// What a cache has from before the COMMIT is not the answer.
			w.Header().Add("Vary", http.CanonicalHeaderKey(guard.Header))
			if d := g.Decide(r.Context(), r.Header); d.Verdict != guard.Run {
				refuse(w, d)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func refuse(w http.ResponseWriter, d guard.Decision) {
	status := statusOf(d)
	w.Header().Set(VerdictHeader, d.Verdict.String())
	w.Header().Set("Cache-Control", "no-store") // 410 would be kept otherwise
	if d.Verdict == guard.Later {
		w.Header().Set("Retry-After", strconv.Itoa(seconds(d.After)))
	}
	http.Error(w, d.Err.Error(), status)
}

func statusOf(d guard.Decision) int {
	switch {
	case errors.Is(d.Err, pgbarrier.ErrAborted):
		return http.StatusConflict
	case errors.Is(d.Err, pgbarrier.ErrExpired):
		return http.StatusGone
	case errors.Is(d.Err, pgbarrier.ErrWrongDatabase):
		return http.StatusMisdirectedRequest
	case errors.Is(d.Err, pgbarrier.ErrInvalidToken):
		return http.StatusBadRequest
	case errors.Is(d.Err, guard.ErrMissing):
		return http.StatusPreconditionRequired
	}
	return http.StatusServiceUnavailable
}

// seconds is what Retry-After takes: at least one, or else it would be at once.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
