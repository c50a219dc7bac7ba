package guardjetstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A broker is a nats-server of one test.
type broker struct {
	path, dir, address string
	process            *exec.Cmd
}

// startBroker starts a server with JetStream, which is gone when the test ends.
func startBroker(t testing.TB) *broker {
	t.Helper()
	b, err := newBroker(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.kill)
	return b
}

func newBroker(ctx context.Context, dir string) (*broker, error) {
	path, err := exec.LookPath("nats-server")
	if err != nil {
		path = "/usr/sbin/nats-server" // Debian's place, which not everybody has on PATH
		if _, err := os.Stat(path); err != nil {
			return nil, errors.New("the tests run against a real nats-server, and there is none: apt-get install nats-server")
		}
	}
	b := &broker{path: path, dir: dir}
	for range 5 { // another process may take the port between
		b.address = freeAddress()
		if err = b.start(ctx); err == nil {
			return b, nil
		}
		b.kill()
	}
	return nil, fmt.Errorf("starting nats-server: %w", err)
}

// freeAddress returns one below the ports that the system hands out by itself, to a client while the server restarts.
func freeAddress() string {
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
}

func (b *broker) name() string { return "pgbarrier-" + url.PathEscape(b.dir) }

// start starts the server, and returns when its JetStream answers.
func (b *broker) start(ctx context.Context) error {
	host, port, _ := net.SplitHostPort(b.address)
	log, err := os.CreateTemp(b.dir, "log")
	if err != nil {
		return err
	}
	defer log.Close()
	b.process = exec.Command(b.path, "-a", host, "-p", port, "-n", b.name(), "-js", "-sd", b.dir)
	b.process.Stdout, b.process.Stderr = log, log
	if err := b.process.Start(); err != nil {
		b.process = nil
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for err = b.ready(ctx); err != nil && ctx.Err() == nil; err = b.ready(ctx) {
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w; it said:\n%s", err, said)
	}
	return nil
}

func (b *broker) ready(ctx context.Context) error {
	nc, err := nats.Connect(b.address)
	if err != nil {
		return err
	}
	defer nc.Close()
	if name := nc.ConnectedServerName(); name != b.name() {
		return fmt.Errorf("%s is the address of another server, %s", b.address, name)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	_, err = js.AccountInfo(ctx)
	return err
}

// kill ends the server as kill -9 does.
func (b *broker) kill() {
	if b.process != nil {
		_ = b.process.Process.Kill()
		_ = b.process.Wait()
		b.process = nil
	}
}

func (b *broker) restart(ctx context.Context) error {
	b.kill()
	return b.start(ctx)
}

// connect opens a connection that outlasts a restart.
func (b *broker) connect(t testing.TB) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, js, err := b.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, js
}

func (b *broker) open() (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(b.address, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	return nc, js, err
}

// stream makes a stream of subject name, and a consumer of it.
func stream(t testing.TB, js jetstream.JetStream, name string, config jetstream.ConsumerConfig) (jetstream.Stream, jetstream.Consumer) {
	t.Helper()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{strings.ToLower(name)}})
	if err != nil {
		t.Fatal(err)
	}
	config.Durable = "workers"
	config.AckPolicy = jetstream.AckExplicitPolicy
	c, err := s.CreateOrUpdateConsumer(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}
