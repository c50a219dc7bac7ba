package guardhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardhttp"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// A service is a guarded handler that answers with the request's body. It is a client's transport, so that
// fake time passes for both.
type service struct {
	handler http.Handler
	handled atomic.Int32
	asked   atomic.Int32
}

func newService(t *testing.T, w guard.Waiter, config guard.Config) *service {
	t.Helper()
	g, err := guard.New(w, config)
	if err != nil {
		t.Fatal(err)
	}
	s := new(service)
	s.handler = guardhttp.Middleware(g)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.handled.Add(1)
		if r.URL.Path == "/conflict" {
			w.WriteHeader(http.StatusConflict)
		}
		_, _ = io.Copy(w, r.Body)
	}))
	return s
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	recorder := httptest.NewRecorder()
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	s.handler.ServeHTTP(recorder, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return recorder.Result(), nil
}

func (s *service) client() *http.Client { return &http.Client{Transport: s} }

func post(t *testing.T, ctx context.Context, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://service"+path, strings.NewReader("order 7"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEachVerdictHasItsStatusAndItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(guardtest.Waiter)
		for _, test := range []struct {
			status pgbarrier.Status
			code   int
			err    error
		}{
			{pgbarrier.Committed, 200, nil},
			{pgbarrier.Aborted, 409, pgbarrier.ErrAborted},
			{pgbarrier.Expired, 410, pgbarrier.ErrExpired},
			{pgbarrier.WrongDatabase, 421, pgbarrier.ErrWrongDatabase},
			{pgbarrier.Invalid, 400, pgbarrier.ErrInvalidToken},
			{pgbarrier.Pending, 503, guard.ErrPending},
		} {
			s := newService(t, w, guard.Config{})
			token := guardtest.NewToken()
			w.Set(test.status, token)
			r := post(t, t.Context(), "/")
			if err := guard.Add(r.Header, token); err != nil {
				t.Fatal(err)
			}
			resp, err := s.client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			handled := test.err == nil
			if resp.StatusCode != test.code || (s.handled.Load() == 1) != handled || (resp.Header.Get(guardhttp.VerdictHeader) == "") != handled {
				t.Errorf("%v: the answer is %v, handled %d times", test.status, resp, s.handled.Load())
			}
			if retry := resp.Header.Get("Retry-After"); (retry == "1") != (test.code == 503) {
				t.Errorf("%v: Retry-After is %q", test.status, retry)
			}
			if !handled && resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Vary") != "Pgbarrier" {
				t.Errorf("%v: a cache would keep %v", test.status, resp.Header)
			}
			if test.status == pgbarrier.Pending {
				continue
			}
			resp, err = guardhttp.Do(s.client(), post(t, t.Context(), "/"), token)
			if !errors.Is(err, test.err) || (resp != nil) != handled {
				t.Errorf("%v: Do returns %v, %v", test.status, resp, err)
			}
		}
		s := newService(t, w, guard.Config{Require: true})
		if _, err := guardhttp.Do(s.client(), post(t, t.Context(), "/")); !errors.Is(err, guard.ErrMissing) {
			t.Errorf("without a barrier Do returns %v", err)
		}
		r := post(t, t.Context(), "/")
		r.Header.Add("pgbarrier", "x")
		if resp, err := s.client().Do(r); err != nil || resp.StatusCode != 400 {
			t.Errorf("a malformed barrier: %v, %v", resp, err)
		}
		if s.handled.Load() > 0 {
			t.Error("it was handled")
		}
		// Many requests have none.
		resp, err := guardhttp.Do(newService(t, w, guard.Config{}).client(), post(t, t.Context(), "/"))
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("without a barrier: %v, %v", resp, err)
		}
	})
}

func TestDoSendsAgainWhatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(guardtest.Waiter)
		s := newService(t, w, guard.Config{})
		token := guardtest.NewToken()
		time.AfterFunc(10*time.Second, func() { w.Commit(token) })
		began := time.Now()
		resp, err := guardhttp.Do(s.client(), post(t, t.Context(), "/"), token)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if took := time.Since(began); string(body) != "order 7" || took < 10*time.Second || took > 14*time.Second || s.handled.Load() != 1 {
			t.Errorf("%q after %v, handled %d times", body, took, s.handled.Load())
		}
		// A handler's own status is nobody else's business.
		resp, err = guardhttp.Do(s.client(), post(t, t.Context(), "/conflict"), token)
		if err != nil || resp.StatusCode != http.StatusConflict {
			t.Errorf("%v, %v", resp, err)
		}
	})
}

// Called inside the transaction.
func TestACallThatWaitsForItselfEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, new(guardtest.Waiter), guard.Config{})
		began := time.Now()
		_, err := guardhttp.Do(s.client(), post(t, t.Context(), "/"), guardtest.NewToken())
		if took := time.Since(began); !errors.Is(err, guard.ErrPending) || took > 35*time.Second || took < 20*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began = time.Now()
		_, err = guardhttp.Do(s.client(), post(t, ctx, "/"), guardtest.NewToken())
		if took := time.Since(began); err == nil || took > 10*time.Second || took < 5*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2500*time.Millisecond, cancel)
		if _, err = guardhttp.Do(s.client(), post(t, cancelled, "/"), guardtest.NewToken()); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled between two tries: %v", err)
		}
	})
}

func TestABodyThatCannotBeReadAgainIsSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, new(guardtest.Waiter), guard.Config{})
		r := post(t, t.Context(), "/")
		r.Body, r.GetBody = io.NopCloser(strings.NewReader("order 7")), nil
		if _, err := guardhttp.Do(s.client(), r, guardtest.NewToken()); !errors.Is(err, guard.ErrPending) || s.asked.Load() != 1 {
			t.Errorf("%v, sent %d times", err, s.asked.Load())
		}
		if r.Header.Get(guard.Header) != "" {
			t.Error("the caller's request was changed")
		}
		if _, err := guardhttp.Do(s.client(), r, pgbarrier.Token{}); !errors.Is(err, pgbarrier.ErrInvalidToken) {
			t.Errorf("the zero token: %v", err)
		}
	})
}

func TestARequestWaitsNoLongerThanItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(guardtest.Waiter)
		s := newService(t, w, guard.Config{Budget: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := guardhttp.Do(s.client(), post(t, ctx, "/"), guardtest.NewToken())
			gone <- err
		}()
		if err := w.UntilWaiting(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) || w.Waiting() > 0 || s.handled.Load() > 0 {
			t.Errorf("%v, %d wait, %d were handled", err, w.Waiting(), s.handled.Load())
		}
	})
}

func ExampleMiddleware() {
	var barriers guardtest.Waiter // a *listener.Listener
	g, err := guard.New(&barriers, guard.Config{Slots: -1})
	if err != nil {
		fmt.Println(err)
		return
	}
	orders := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "order 7 can be read") })
	server := httptest.NewServer(guardhttp.Middleware(g)(orders))
	defer server.Close()

	token := guardtest.NewToken() // of the transaction that made order 7
	barriers.Commit(token)
	req, err := http.NewRequest(http.MethodGet, server.URL+"/orders/7", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := guardhttp.Do(server.Client(), req, token)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, string(body))
	// Output: 200 OK order 7 can be read
}
