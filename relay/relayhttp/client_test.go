package relayhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/relay"
)

func TestAClientsWaitEndsWithEachOutcome(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), nil)
	c := newClient(t, nil, s.http.URL)
	for status, want := range map[pgbarrier.Status]error{pgbarrier.Committed: nil, pgbarrier.Aborted: pgbarrier.ErrAborted,
		pgbarrier.Expired: pgbarrier.ErrExpired, pgbarrier.WrongDatabase: pgbarrier.ErrWrongDatabase, pgbarrier.Invalid: pgbarrier.ErrInvalidToken} {
		before, after := guardtest.NewToken(), guardtest.NewToken()
		s.Set(status, before)
		if err := c.Wait(t.Context(), before); !errors.Is(err, want) {
			t.Errorf("%v: the wait ended with %v", status, err)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait(t.Context(), before, after) }()
		if status == pgbarrier.Committed {
			must(t, s.UntilWaiting(t.Context(), 1))
			s.Set(status, after)
		}
		err := <-ended
		if !errors.Is(err, want) {
			t.Errorf("%v: the wait for two ended with %v", status, err)
		}
		var of *pgbarrier.TokenError
		if want != nil && (!errors.As(err, &of) || of.Token != before) {
			t.Errorf("%v: %v does not tell of %v", status, err, before)
		}
	}
	if n := c.Pending(); n != 0 || c.Health() != nil {
		t.Errorf("%d waits are left, and %v", n, c.Health())
	}
}

func TestAClientRefusesWhatIsNoToken(t *testing.T) {
	t.Parallel()
	c := newClient(t, nil, "http://127.0.0.1:1")
	other := guardtest.NewToken()
	other.Origin++
	for what, test := range map[string]struct {
		tokens []pgbarrier.Token
		want   error
	}{
		"none":              {nil, pgbarrier.ErrInvalidToken},
		"the zero token":    {[]pgbarrier.Token{{}}, pgbarrier.ErrInvalidToken},
		"several databases": {[]pgbarrier.Token{guardtest.NewToken(), other}, ErrSeveralDatabases},
	} {
		if err := c.Wait(t.Context(), test.tokens...); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.Check(t.Context(), pgbarrier.Token{}); !errors.Is(err, pgbarrier.ErrInvalidToken) {
		t.Errorf("Check: %v", err)
	}
	for _, urls := range [][]string{nil, {""}, {"relay:8080"}, {"ftp://relay"}} {
		if _, err := NewClient(ClientConfig{URLs: urls}); err == nil {
			t.Errorf("%q were taken", urls)
		}
	}
}

func TestACheckTellsStatusesInTheirOrder(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), nil)
	c := newClient(t, nil, s.http.URL)
	tokens := []pgbarrier.Token{guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()}
	s.Abort(tokens[1])
	s.Commit(tokens[2])
	got, err := c.Check(t.Context(), tokens...)
	if want := []pgbarrier.Status{pgbarrier.Pending, pgbarrier.Aborted, pgbarrier.Committed}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if s.Checks() != 1 {
		t.Errorf("it took %d checks", s.Checks())
	}
	if got, err := c.Check(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("of none: %v, %v", got, err)
	}
	foreign := tokens[0]
	foreign.Origin++
	if got, err := c.Check(t.Context(), foreign); err == nil {
		t.Errorf("of another database: %v", got)
	}
}

func TestTheContextEndsAWaitAsItself(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), nil)
	c := newClient(t, nil, s.http.URL)
	token := guardtest.NewToken()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait(ctx, token) }()
	must(t, s.UntilWaiting(t.Context(), 1))
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("the wait ended with %v", err)
	}
	must(t, s.UntilWaiting(t.Context(), 0))
	s.Commit(token)
	must(t, c.Wait(t.Context(), token))
}

func TestCloseEndsEveryWait(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), nil)
	c := newClient(t, nil, s.http.URL)
	const n = 100
	ended := make(chan error, n)
	for range n {
		c.WaitFunc(func(err error) { ended <- err }, guardtest.NewToken())
	}
	must(t, s.UntilWaiting(t.Context(), n))
	c.Close()
	for range n {
		if err := <-ended; err != pgbarrier.ErrClosed {
			t.Errorf("a wait ended with %v", err)
		}
	}
	if err := c.Wait(t.Context(), guardtest.NewToken()); err != pgbarrier.ErrClosed {
		t.Errorf("after Close: %v", err)
	}
	if _, err := c.Check(t.Context(), guardtest.NewToken()); err != pgbarrier.ErrClosed {
		t.Errorf("a check after Close: %v", err)
	}
	must(t, s.UntilWaiting(t.Context(), 0))
}

// A counter counts requests for waits, and those at the same time.
type counter struct {
	next          http.RoundTripper
	all, now, max atomic.Int64
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.all.Add(1)
	n := c.now.Add(1)
	for m := c.max.Load(); n > m && !c.max.CompareAndSwap(m, n); m = c.max.Load() {
	}
	context.AfterFunc(r.Context(), func() { c.now.Add(-1) }) // the client ends it with each request
	return c.next.RoundTrip(r)
}

// Over HTTP/1.1 each request takes a connection.
func TestManyWaitsShareFewRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), nil)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	count := &counter{next: transport}
	t.Cleanup(transport.CloseIdleConnections)
	c := newClient(t, func(c *ClientConfig) { c.HTTP = &http.Client{Transport: count} }, s.http.URL)

	const n = 3000
	var committed, failed atomic.Int64
	tokens := make([]pgbarrier.Token, n)
	for i := range tokens {
		tokens[i] = guardtest.NewToken()
		c.WaitFunc(func(err error) {
			if err == nil {
				committed.Add(1)
			} else {
				failed.Add(1)
			}
		}, tokens[i])
		if i%100 == 0 { // one after the other
			must(t, s.UntilWaiting(t.Context(), i+1))
		}
	}
	must(t, s.UntilWaiting(t.Context(), n))
	if most := count.max.Load(); most > n/int64(c.config.MaxBatch)+2*maxStreams {
		t.Errorf("%d requests at the same time", most)
	}
	s.Commit(tokens...)
	eventually(t, "all have ended", func() bool { return committed.Load() == n })
	if failed.Load() > 0 {
		t.Errorf("%d failed", failed.Load())
	}
	t.Logf("%d requests, %d at the same time", count.all.Load(), count.max.Load())
}

// More than a full relay takes.
func TestWhatIsRefusedIsSentAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), func(c *relay.Config, _ *ServerConfig) { c.MaxTokens = 10 })
	c := newClient(t, nil, s.http.URL)
	const n = 30
	ended := make(chan error, n)
	tokens := make([]pgbarrier.Token, n)
	for i := range tokens {
		tokens[i] = guardtest.NewToken()
		c.WaitFunc(func(err error) { ended <- err }, tokens[i])
	}
	must(t, s.UntilWaiting(t.Context(), 10))
	s.Commit(tokens...)
	for range n {
		must(t, <-ended)
	}
}

func TestAWaitForADatabaseThatIsNotServedGoesOnAndIsToldOf(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), nil)
	c := newClient(t, nil, s.http.URL)
	foreign := guardtest.NewToken()
	foreign.Origin++
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait(ctx, foreign) }()
	eventually(t, "it is told of", func() bool { return c.Health() != nil })
	token := guardtest.NewToken()
	s.Commit(token)
	must(t, c.Wait(t.Context(), token))
	if err := c.Health(); err == nil || len(ended) > 0 {
		t.Errorf("its wait has ended, or %v", err)
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("the wait ended with %v", err)
	}
}

func ExampleNewClient() {
	barriers, err := NewClient(ClientConfig{URLs: []string{"http://127.0.0.1:8080"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer barriers.Close()
	// guard.New(barriers, guard.Config{}), or err = barriers.Wait(ctx, token)
	fmt.Println(barriers.Health())
	// Output: <nil>
}
