package relaynats

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/relay"
)

const testOrigin = 0xbeef

// A double is a database whose outcomes a test decides. Several relays may have it.
type double struct {
	guardtest.Waiter

	mu     sync.Mutex
	outage error
	moved  uint32 // another origin, unless zero
}

func newDouble() *double {
	d := &double{}
	return d
}

func (d *double) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (d *double) Origin() (uint32, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.moved != 0 {
		return d.moved, true
	}
	return testOrigin, true
}

func (d *double) Stats() listener.Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return listener.Stats{LastErr: d.outage}
}

func (d *double) fail(err error) {
	d.Fail(err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outage = err
}

// A scene is some relays and clients of one test in fake time.
type scene struct {
	*testing.T
	nats     *fakeNATS
	database *double
	server   ServerConfig
	client   ClientConfig
}

// play runs a scene in fake time.
func play(t *testing.T, f func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(&scene{T: t, nats: newFakeNATS(1), database: newDouble()})
	})
}

// A relayProcess is one relay.
type relayProcess struct {
	*process
	relay *relay.Relay
	ended chan error // of Serve
	stop  func()     // at once
}

func (s *scene) relay() *relayProcess {
	return s.relayOf(relay.Config{Databases: []relay.Database{s.database}})
}

func (s *scene) relayOf(config relay.Config) *relayProcess {
	s.Helper()
	r, err := relay.New(config)
	if err != nil {
		s.Fatal(err)
	}
	p := &relayProcess{process: s.nats.process(), relay: r, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx) })
	running.Go(func() { p.ended <- serve(ctx, p.process, r, s.server) })
	p.stop = func() {
		cancel()
		running.Wait()
	}
	s.Cleanup(p.stop)
	synctest.Wait()
	return p
}

func (s *scene) newClient() *Client {
	c, _ := s.clientProcess()
	return c
}

func (s *scene) clientProcess() (*Client, *process) {
	s.Helper()
	p := s.nats.process()
	c, err := newClient(p, s.client)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	s.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return c, p
}

// token returns a new token of the scene's database.
func token() pgbarrier.Token {
	t := guardtest.NewToken()
	t.Origin = testOrigin
	return t
}

// begin begins a wait, and returns where its outcome comes.
func begin(c *Client, tokens ...pgbarrier.Token) <-chan error {
	done := make(chan error, 2)
	c.WaitFunc(func(err error) { done <- err }, tokens...)
	return done
}

// within waits for an outcome, and says how long that took.
func (s *scene) within(limit time.Duration, done <-chan error) (took time.Duration, err error) {
	s.Helper()
	began := time.Now()
	select {
	case err := <-done:
		return time.Since(began), err
	case <-time.After(limit):
		s.Fatalf("the wait has not ended after %v", limit)
		return 0, nil
	}
}
