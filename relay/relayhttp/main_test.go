package relayhttp

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/relay"
)

var _ guard.FuncWaiter = (*Client)(nil)

// server is that of the promises' tests.
var server *devpg.Server

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = flag.Set("test.parallel", "8") // they wait most of the time
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	if server, err = devpg.Start(ctx, devpg.Config{Settings: map[string]string{"fsync": "off"}}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code = m.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// patience is how long a test waits for what must come, so that a full machine fails none.
const patience = 2 * time.Minute

// A double is a relay's database whose outcomes the test decides.
type double struct {
	guardtest.Waiter
}

const doublesOrigin = 0x7e57 // of guardtest.NewToken

func (d *double) Run(ctx context.Context) error {
	<-ctx.Done()
	d.Close()
	return ctx.Err()
}
func (d *double) Origin() (uint32, bool) { return doublesOrigin, true }
func (d *double) Stats() listener.Stats  { return listener.Stats{} }

// A site is a relay that serves a double over HTTP.
type site struct {
	*double
	relay   *relay.Relay
	handler *Handler
	http    *httptest.Server
}

// newSite starts a relay. The configurations are changed by change, which may be nil.
func newSite(t *testing.T, d *double, change func(*relay.Config, *ServerConfig)) *site {
	t.Helper()
	rc, sc := relay.Config{Databases: []relay.Database{d}}, ServerConfig{}
	if change != nil {
		change(&rc, &sc)
	}
	r, err := relay.New(rc)
	if err != nil {
		t.Fatal(err)
	}
	runRelay(t, r)
	h, err := NewHandler(r, sc)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{double: d, relay: r, handler: h, http: httptest.NewServer(h)}
	t.Cleanup(s.http.Close)
	return s
}

// runRelay runs r until the test ends, and returns when it is ready.
func runRelay(t *testing.T, r *relay.Relay) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	eventually(t, "the relay is ready", func() bool { return r.Ready() == nil })
}

func newClient(t *testing.T, change func(*ClientConfig), urls ...string) *Client {
	t.Helper()
	config := ClientConfig{URLs: urls}
	if change != nil {
		change(&config)
	}
	c, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eventually waits for what gives no signal.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get asks for a path with the headers, and returns the status, the body and the answer's headers.
func get(t *testing.T, url string, headers ...string) (int, string, http.Header) {
	t.Helper()
	return do(t, http.DefaultClient, http.MethodGet, url, "", headers...)
}
