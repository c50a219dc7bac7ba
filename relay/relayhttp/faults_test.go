package relayhttp

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// A crowd is many waits, whose outcomes are to be true.
type crowd struct {
	double *double
	tokens []pgbarrier.Token
	ended  chan error // what is wrong with one, or nil
}

func newCrowd(c *Client, d *double, n int) *crowd {
	w := &crowd{double: d, ended: make(chan error, n)}
	for range n {
		token := guardtest.NewToken()
		w.tokens = append(w.tokens, token)
		c.WaitFunc(func(err error) { w.ended <- w.judge(token, err) }, token)
	}
	return w
}

func (w *crowd) judge(token pgbarrier.Token, err error) error {
	statuses, _ := w.double.Check(context.Background(), token)
	want := statuses[0].Err(token)
	if statuses[0] == pgbarrier.Pending || (err == nil) != (want == nil) || want != nil && err.Error() != want.Error() {
		return errors.New("a wait that is " + statuses[0].String() + " ended otherwise")
	}
	return nil
}

// settle ends the transactions in [from, to), every third by an abort.
func (w *crowd) settle(from, to int) {
	for i, token := range w.tokens[from:to] {
		if i%3 == 0 {
			w.double.Abort(token)
		} else {
			w.double.Commit(token)
		}
	}
}

func (w *crowd) wantEnded(t *testing.T) {
	t.Helper()
	deadline := time.After(patience)
	for i := range w.tokens {
		select {
		case err := <-w.ended:
			if err != nil {
				t.Error(err)
			}
		case <-deadline:
			t.Fatalf("%d of %d waits have not ended", len(w.tokens)-i, len(w.tokens))
		}
	}
}

func TestARelaysDeathLosesNoWait(t *testing.T) {
	t.Parallel()
	d := new(double)
	one, two := newSite(t, d, nil), newSite(t, d, nil)
	c := newClient(t, nil, one.http.URL, two.http.URL)
	w := newCrowd(c, d, 500)
	must(t, d.UntilWaiting(t.Context(), 500))
	w.settle(0, 100)
	one.http.Listener.Close()
	one.http.CloseClientConnections()
	w.settle(100, 200)
	must(t, d.UntilWaiting(t.Context(), 300))
	eventually(t, "they are with the other", func() bool { return two.relay.Stats().Tokens == 300 })
	w.settle(200, 500)
	w.wantEnded(t)
	must(t, c.Health())
}

func TestADrainingRelayHandsItsClientsOn(t *testing.T) {
	t.Parallel()
	d := new(double)
	one, two := newSite(t, d, nil), newSite(t, d, nil)
	c := newClient(t, nil, one.http.URL, two.http.URL)
	w := newCrowd(c, d, 300)
	must(t, d.UntilWaiting(t.Context(), 300))
	one.relay.Drain()
	eventually(t, "they are with the other", func() bool { return two.relay.Stats().Tokens == 300 && one.relay.Stats().Tokens == 0 })
	must(t, c.Health()) // it felt nothing
	w.settle(0, 300)
	w.wantEnded(t)
}

// It takes connections and requests, and answers nothing, as a stopped process does.
func TestAHungRelayIsLeft(t *testing.T) {
	t.Parallel()
	hung, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			conn, err := hung.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { // until the client goes
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			})
		}
	})
	t.Cleanup(connections.Wait)
	t.Cleanup(func() { hung.Close() })
	d := new(double)
	s := newSite(t, d, nil)
	c := newClient(t, func(c *ClientConfig) { c.Silence = 200 * time.Millisecond }, "http://"+hung.Addr().String(), s.http.URL)
	t.Cleanup(c.Close)
	w := newCrowd(c, d, 10)
	w.settle(0, 10)
	w.wantEnded(t)
	if got, err := c.Check(t.Context(), w.tokens[0]); err != nil || got[0] != pgbarrier.Aborted {
		t.Errorf("Check: %v, %v", got, err)
	}
}

// It hangs in the middle of an answer: neither outcomes nor pings come any more.
func TestARelayThatFallsSilentIsLeft(t *testing.T) {
	t.Parallel()
	d := new(double)
	s := newSite(t, d, nil)
	released := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &muted{ResponseWriter: w, released: released}
		s.handler.ServeHTTP(out, r)
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(released) })
	c := newClient(t, func(c *ClientConfig) { c.Ping, c.Silence = 200*time.Millisecond, 200*time.Millisecond }, silent.URL, s.http.URL)
	w := newCrowd(c, d, 10)
	eventually(t, "they have left", func() bool { return c.Health() != nil })
	w.settle(0, 10)
	w.wantEnded(t)
}

// muted passes the first line on and nothing else.
type muted struct {
	http.ResponseWriter
	written  bool
	released chan struct{}
}

func (m *muted) Write(p []byte) (int, error) {
	if m.written {
		<-m.released
		return 0, io.ErrClosedPipe
	}
	m.written = true
	return m.ResponseWriter.Write(p)
}

func (m *muted) Unwrap() http.ResponseWriter { return m.ResponseWriter }

// A vandal cuts or garbles answers anywhere, for as long as it is active.
type vandal struct {
	next   http.RoundTripper
	active func() bool
}

func (v *vandal) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := v.next.RoundTrip(r)
	if err == nil && v.active() {
		resp.Body = &spoiled{ReadCloser: resp.Body, after: rand.IntN(2000), garble: rand.IntN(2) == 0}
	}
	return resp, err
}

type spoiled struct {
	io.ReadCloser
	after  int
	garble bool
}

func (s *spoiled) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	switch {
	case n <= s.after:
		s.after -= n
	case s.garble:
		p[s.after] ^= byte(1 + rand.IntN(127))
		s.after = rand.IntN(2000)
	default:
		return s.after, io.EOF // as if the answer were whole
	}
	return n, err
}

func TestACutOrGarbledAnswerIsNotBelieved(t *testing.T) {
	t.Parallel()
	d := new(double)
	s := newSite(t, d, nil)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	var mu sync.Mutex
	spoils := 60
	c := newClient(t, func(c *ClientConfig) {
		c.MaxBatch = 20
		c.HTTP = &http.Client{Transport: &vandal{next: transport, active: func() bool {
			mu.Lock()
			defer mu.Unlock()
			spoils--
			return spoils >= 0
		}}}
	}, s.http.URL)
	w := newCrowd(c, d, 400)
	for i := 0; i < 400; i += 20 {
		w.settle(i, i+20)
		statuses, err := c.Check(t.Context(), w.tokens[:i+20]...)
		for n, status := range statuses {
			if want := map[bool]pgbarrier.Status{true: pgbarrier.Aborted, false: pgbarrier.Committed}[n%20%3 == 0]; err == nil && status != want {
				t.Errorf("a check says %v of what is %v", status, want)
			}
		}
	}
	w.wantEnded(t)
}
