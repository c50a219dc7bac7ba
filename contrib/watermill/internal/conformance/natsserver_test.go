package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// A natsServer is a nats-server of one test, as in the tests of contrib/jetstream.
type natsServer struct {
	path, dir, address string
	process            *exec.Cmd
}

func startNATS(t testing.TB) *natsServer {
	t.Helper()
	path, err := exec.LookPath("nats-server")
	if err != nil {
		path = "/usr/sbin/nats-server" // Debian's place, which not everybody has on PATH
		if _, err := os.Stat(path); err != nil {
			t.Fatal("the tests run against a real nats-server, and there is none: apt-get install nats-server")
		}
	}
	b := &natsServer{path: path, dir: t.TempDir()}
	t.Cleanup(b.kill)
	for range 5 { // another process may take the port between
		b.address = fmt.Sprintf("127.0.0.1:%d", freePort())
		if err = b.run(t.Context()); err == nil {
			return b
		}
		b.kill()
	}
	t.Fatal("starting nats-server: ", err)
	return nil
}

// freePort returns a port below those that the system hands out by itself.
func freePort() int {
	for {
		port := 15000 + rand.IntN(15000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
}

// run starts the server, and returns when its JetStream answers.
func (b *natsServer) run(ctx context.Context) error {
	host, port, _ := net.SplitHostPort(b.address)
	name := "pgbarrier-" + url.PathEscape(b.dir)
	b.process = exec.Command(b.path, "-a", host, "-p", port, "-n", name, "-js", "-sd", b.dir)
	if err := b.process.Start(); err != nil {
		b.process = nil
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := errors.New("not asked yet")
	for ; err != nil && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		err = b.ready(ctx, name)
	}
	return err
}

func (b *natsServer) ready(ctx context.Context, want string) error {
	nc, err := b.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	if name := nc.ConnectedServerName(); name != want {
		return fmt.Errorf("%s is the address of another server, %s", b.address, name)
	}
	js, err := natsjs.New(nc)
	if err != nil {
		return err
	}
	_, err = js.AccountInfo(ctx)
	return err
}

// connect opens a connection that outlasts a restart.
func (b *natsServer) connect() (*nats.Conn, error) {
	return nats.Connect(b.address, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
}

// kill ends the server as kill -9 does.
func (b *natsServer) kill() {
	if b.process != nil {
		_ = b.process.Process.Kill()
		_ = b.process.Wait()
		b.process = nil
	}
}

func (b *natsServer) restart(ctx context.Context) error {
	b.kill()
	return b.run(ctx)
}
