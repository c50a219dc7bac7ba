package devbroker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// RabbitMQ is rabbitmq-server without plugins, with an epmd of its own.
var RabbitMQ = &Kind{
	name: "rabbitmq", scheme: "amqp", env: "DEVBROKER_RABBITMQ_URL",
	programs: []string{"rabbitmq-server", "epmd"}, install: "rabbitmq-server",
	// What Debian has on PATH is a wrapper that only serves root.
	paths: []string{"/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/homebrew/sbin/rabbitmq-server"},
	run:   runRabbitMQ, ready: answersAMQP,
}

func runRabbitMQ(s *Server, programs []string) ([]*exec.Cmd, error) {
	for name, content := range map[string]string{
		".erlang.cookie": fmt.Sprintf("%x%x", rand.Uint64(), rand.Uint64()), "plugins": "[].", "rabbitmq.conf": "", "env.conf": "",
	} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, err
	}
	epmdPort := fmt.Sprint(freePort())
	server := exec.Command(programs[0])
	server.Env = []string{
		// Without this the script stays beside the server, and signals are the script's.
		"RUNNING_UNDER_SYSTEMD=true", "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + s.Dir,
		"ERL_EPMD_PORT=" + epmdPort, "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=" + rabbitName(port) + "localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT=" + port, fmt.Sprintf("RABBITMQ_DIST_PORT=%d", freePort()),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_MNESIA_BASE=" + s.Dir + "/mnesia", "RABBITMQ_LOG_BASE=" + s.Dir + "/log", "RABBITMQ_LOGS=-",
		"RABBITMQ_PID_FILE=" + s.Dir + "/pid", "RABBITMQ_ENABLED_PLUGINS_FILE=" + s.Dir + "/plugins",
		"RABBITMQ_CONF_ENV_FILE=" + s.Dir + "/env.conf", "RABBITMQ_CONFIG_FILE=" + s.Dir + "/rabbitmq.conf",
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + s.Dir + "/advanced.config", "RABBITMQ_GENERATED_CONFIG_DIR=" + s.Dir + "/generated",
	}
	return []*exec.Cmd{server, exec.Command(programs[1], "-address", "127.0.0.1", "-port", epmdPort)}, nil
}

// rabbitName is the beginning of the node's name.
func rabbitName(port string) string { return "pgbarrier-" + port + "@" }

// answersAMQP looks at the method Connection.Start, with which a server begins (AMQP 0-9-1, 2.2.4). RabbitMQ listens
// when all else has been started, and gives the name of the cluster, which is that of its first node.
func answersAMQP(s *Server, conn net.Conn, _ int) error {
	if _, err := io.WriteString(conn, "AMQP\x00\x00\x09\x01"); err != nil {
		return err
	}
	head := make([]byte, 7) // type, channel, length
	if _, err := io.ReadFull(conn, head); err != nil {
		return err
	}
	method := make([]byte, min(binary.BigEndian.Uint32(head[3:]), 1<<16))
	if _, err := io.ReadFull(conn, method); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(s.Address)
	switch {
	case !bytes.HasPrefix(method, []byte{0, 10, 0, 10}):
		return errors.New("the server does not begin with Connection.Start")
	case !bytes.Contains(method, []byte(rabbitName(port))):
		return errOther
	}
	return nil
}
