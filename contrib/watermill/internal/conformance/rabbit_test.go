package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	amqp091 "github.com/rabbitmq/amqp091-go"
)

// A rabbit is a RabbitMQ server of one test, on loopback, as in the tests of contrib/rabbitmq.
type rabbit struct {
	dir, server, epmdPath string
	port, dist, epmd      int
	keeper                *exec.Cmd
	stdin                 io.WriteCloser // while it is open the server runs
	exited                chan struct{}

	mu        sync.Mutex
	publisher *amqp.Publisher // nil: not connected
}

// keeperScript runs epmd and the server until its stdin ends, also because this process has been killed.
const keeperScript = `
"$EPMD" -address 127.0.0.1 -port "$ERL_EPMD_PORT" </dev/null &
epmd=$!
"$SERVER" </dev/null &
server=$!
read -r how
if [ "$how" = stop ]; then
	kill -TERM "$server"
	tenths=0
	while [ $tenths -lt 600 ] && kill -0 "$server"; do
		sleep 0.1
		tenths=$((tenths + 1))
	done
fi 2>/dev/null
kill -KILL "$server" "$epmd"
wait
[ -n "$how" ] || rm -rf "$DIR"
`

func startRabbit(t *testing.T) *rabbit {
	t.Helper()
	// Debian's /usr/sbin/rabbitmq-server is a wrapper that only serves root.
	b := &rabbit{}
	for _, path := range []string{"/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/homebrew/sbin/rabbitmq-server"} {
		if _, err := os.Stat(path); err == nil {
			b.server = path
			break
		}
	}
	var err error
	if b.epmdPath, err = exec.LookPath("epmd"); b.server == "" || err != nil {
		t.Fatal("these tests need a RabbitMQ server: apt-get install rabbitmq-server")
	}
	if b.dir, err = os.MkdirTemp("", "pgbarrier-rabbitmq-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.disconnect()
		b.end("crash")
		if err := os.RemoveAll(b.dir); err != nil {
			t.Error(err)
		}
	})
	for name, content := range map[string]string{
		".erlang.cookie": fmt.Sprintf("%x%x", rand.Uint64(), rand.Uint64()), "plugins": "[].", "rabbitmq.conf": "", "env.conf": "",
	} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for range 3 { // somebody else may take a port before the server does
		b.port, b.dist, b.epmd = freePort(), freePort(), freePort()
		if err = b.run(ctx); err == nil {
			return b
		}
		b.end("crash")
	}
	t.Fatal(err)
	return nil
}

// run starts the server, with the files that are there, and returns when it can be used.
func (b *rabbit) run(ctx context.Context) error {
	b.keeper = exec.Command("/bin/sh", "-c", keeperScript)
	b.keeper.Dir = b.dir
	b.keeper.Env = []string{
		// The script waits for the server unless it thinks that systemd does.
		"RUNNING_UNDER_SYSTEMD=true", "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "DIR=" + b.dir, "SERVER=" + b.server, "EPMD=" + b.epmdPath, "HOME=" + b.dir,
		fmt.Sprintf("ERL_EPMD_PORT=%d", b.epmd), "ERL_EPMD_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODENAME=pgbarrier-%d@localhost", b.port), "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODE_PORT=%d", b.port), fmt.Sprintf("RABBITMQ_DIST_PORT=%d", b.dist),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_MNESIA_BASE=" + b.dir + "/mnesia", "RABBITMQ_LOG_BASE=" + b.dir + "/log", "RABBITMQ_LOGS=" + b.dir + "/log.txt",
		"RABBITMQ_PID_FILE=" + b.dir + "/pid", "RABBITMQ_ENABLED_PLUGINS_FILE=" + b.dir + "/plugins",
		"RABBITMQ_CONF_ENV_FILE=" + b.dir + "/env.conf", "RABBITMQ_CONFIG_FILE=" + b.dir + "/rabbitmq.conf",
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + b.dir + "/advanced.config", "RABBITMQ_GENERATED_CONFIG_DIR=" + b.dir + "/generated",
	}
	b.keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // out of reach of Ctrl-C, which ends stdin anyway
	stdin, err := b.keeper.StdinPipe()
	if err != nil {
		return err
	}
	if err := b.keeper.Start(); err != nil {
		return err
	}
	b.stdin, b.exited = stdin, make(chan struct{})
	go func() {
		defer close(b.exited)
		_ = b.keeper.Wait()
	}()
	for {
		c, err := amqp091.Dial(b.url())
		if err == nil {
			return c.Close()
		}
		select {
		case <-b.exited:
			return errors.New("the RabbitMQ server has ended")
		case <-ctx.Done():
			return fmt.Errorf("the RabbitMQ server cannot be used yet: %w, %w", ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (b *rabbit) url() string { return fmt.Sprintf("amqp://127.0.0.1:%d/", b.port) }

// end ends the server, by "stop" in order and by "crash" as a crash does. Its files stay.
func (b *rabbit) end(how string) {
	if b.stdin == nil {
		return
	}
	_, _ = io.WriteString(b.stdin, how+"\n")
	<-b.exited
	_ = b.stdin.Close()
	b.stdin = nil
}

// restart stops the server and starts it again.
func (b *rabbit) restart(ctx context.Context) error {
	b.disconnect()
	b.end("stop")
	return b.run(ctx)
}
