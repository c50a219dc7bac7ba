package devbroker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
)

// NATS is nats-server with JetStream.
var NATS = &Kind{
	name: "nats", scheme: "nats", env: "DEVBROKER_NATS_URL",
	programs: []string{"nats-server"}, install: "nats-server",
	paths: []string{"/usr/sbin/nats-server"}, // Debian's place, which not everybody has on PATH

	run: func(s *Server, programs []string) ([]*exec.Cmd, error) {
		host, port, err := net.SplitHostPort(s.Address)
		return []*exec.Cmd{exec.Command(programs[0], "-a", host, "-p", port, "-n", natsName(s), "-js", "-sd", s.Dir)}, err
	},

	ready: func(s *Server, conn net.Conn, _ int) error {
		r := bufio.NewReader(conn)
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		var info struct {
			Name string `json:"server_name"`
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
			return fmt.Errorf("nats says %q: %w", line, err)
		}
		if info.Name != natsName(s) {
			return errOther
		}
		if _, err := io.WriteString(conn, "CONNECT {\"verbose\":false}\r\nSUB ready 1\r\nPUB $JS.API.INFO ready 0\r\n\r\n"); err != nil {
			return err
		}
		for !strings.HasPrefix(line, "MSG ready ") {
			if line, err = r.ReadString('\n'); err != nil {
				return err
			}
		}
		if line, err = r.ReadString('\n'); err == nil && strings.Contains(line, `"error"`) {
			err = fmt.Errorf("JetStream answers %s", strings.TrimSpace(line))
		}
		return err
	},
}

func natsName(s *Server) string { return filepath.Base(s.Dir) }

var errOther = errors.New("the address is another server's")
