package guardrabbitmq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A node is a RabbitMQ server of the tests' own, on loopback, with its files in a directory that it removes.
type node struct {
	dir              string
	port, dist, epmd int
	log              syncBuffer
	keeper           *exec.Cmd
	stdin            io.WriteCloser // while it is open the server runs
	exited           chan struct{}
	server, epmdPath string
}

// keeperScript runs epmd and the server until its stdin ends, also because this process has been killed. The server's
// own children end with it.
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

// serverPaths are where packages have it. Debian's /usr/sbin/rabbitmq-server is a wrapper that only serves root.
var serverPaths = []string{"/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/homebrew/sbin/rabbitmq-server"}

func startNode(ctx context.Context) (*node, error) {
	var server string
	for _, path := range serverPaths {
		if _, err := os.Stat(path); err == nil {
			server = path
			break
		}
	}
	epmd, err := exec.LookPath("epmd")
	if server == "" || err != nil {
		return nil, errors.New("these tests need a RabbitMQ server: apt-get install rabbitmq-server")
	}
	dir, err := os.MkdirTemp("", "pgbarrier-rabbitmq-")
	if err != nil {
		return nil, err
	}
	n := &node{dir: dir, server: server, epmdPath: epmd}
	for name, content := range map[string]string{
		".erlang.cookie": fmt.Sprintf("%x%x", rand.Uint64(), rand.Uint64()), "plugins": "[].", "rabbitmq.conf": "", "env.conf": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	// Somebody else may take a port before the server does.
	for range 3 {
		n.port, n.dist, n.epmd = freePort(), freePort(), freePort()
		if err = n.run(ctx); err == nil {
			return n, nil
		}
		n.end("crash")
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
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

// run starts the server, with the files that are there, and returns when it can be used.
func (n *node) run(ctx context.Context) error {
	n.keeper = exec.Command("/bin/sh", "-c", keeperScript)
	n.keeper.Dir = n.dir
	n.keeper.Env = []string{
		// The script waits for the server unless it thinks that systemd does.
		"RUNNING_UNDER_SYSTEMD=true", "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "DIR=" + n.dir, "SERVER=" + n.server, "EPMD=" + n.epmdPath, "HOME=" + n.dir,
		fmt.Sprintf("ERL_EPMD_PORT=%d", n.epmd), "ERL_EPMD_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODENAME=pgbarrier-%d@localhost", n.port), "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODE_PORT=%d", n.port), fmt.Sprintf("RABBITMQ_DIST_PORT=%d", n.dist),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_MNESIA_BASE=" + n.dir + "/mnesia", "RABBITMQ_LOG_BASE=" + n.dir + "/log", "RABBITMQ_LOGS=-",
		"RABBITMQ_PID_FILE=" + n.dir + "/pid", "RABBITMQ_ENABLED_PLUGINS_FILE=" + n.dir + "/plugins",
		"RABBITMQ_CONF_ENV_FILE=" + n.dir + "/env.conf", "RABBITMQ_CONFIG_FILE=" + n.dir + "/rabbitmq.conf",
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + n.dir + "/advanced.config", "RABBITMQ_GENERATED_CONFIG_DIR=" + n.dir + "/generated",
	}
	n.keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // out of reach of Ctrl-C, which ends stdin anyway
	n.keeper.Stdout, n.keeper.Stderr = &n.log, &n.log
	stdin, err := n.keeper.StdinPipe()
	if err != nil {
		return err
	}
	n.stdin = stdin
	if err := n.keeper.Start(); err != nil {
		return err
	}
	n.exited = make(chan struct{})
	go func() {
		defer close(n.exited)
		_ = n.keeper.Wait()
	}()
	for {
		c, err := amqp.Dial(n.url())
		if err == nil {
			return c.Close()
		}
		select {
		case <-n.exited:
			return fmt.Errorf("the RabbitMQ server has ended: %s", n.log.String())
		case <-ctx.Done():
			return fmt.Errorf("the RabbitMQ server cannot be used yet: %w, %w: %s", ctx.Err(), err, n.log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (n *node) url() string { return fmt.Sprintf("amqp://127.0.0.1:%d/", n.port) }

// end ends the server, by "stop" in order and by "crash" as a crash does. Its files stay.
func (n *node) end(how string) {
	if n.stdin == nil {
		return
	}
	_, _ = io.WriteString(n.stdin, how+"\n")
	<-n.exited
	_ = n.stdin.Close()
}

// restart stops the server and starts it again.
func (n *node) restart(ctx context.Context) error {
	n.end("stop")
	return n.run(ctx)
}

// crash is restart without an orderly stop.
func (n *node) crash(ctx context.Context) error {
	n.end("crash")
	return n.run(ctx)
}

// untilKept waits until quorum queues outlast a crash: RabbitMQ 3.10 writes the name of a new one half a second late.
func (n *node) untilKept(t testing.TB, queues ...string) {
	t.Helper()
	name := fmt.Sprintf("pgbarrier-%d@localhost", n.port)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		names, err := os.ReadFile(filepath.Join(n.dir, "mnesia", name, "quorum", name, "names.dets"))
		kept := err == nil
		for _, queue := range queues {
			kept = kept && bytes.Contains(names, []byte(queue))
		}
		if kept {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker does not write the names of %v: %v", queues, err)
		}
	}
}

func (n *node) close() error {
	n.end("crash")
	return os.RemoveAll(n.dir)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns the end of it.
func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.b.Bytes()
	return string(s[max(0, len(s)-4000):])
}
