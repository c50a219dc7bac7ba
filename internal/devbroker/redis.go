package devbroker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
)

// Redis is redis-server.
var Redis = &Kind{
	name: "redis", scheme: "redis", env: "DEVBROKER_REDIS_URL",
	programs: []string{"redis-server"}, install: "redis-server",

	run: func(s *Server, programs []string) ([]*exec.Cmd, error) {
		host, port, err := net.SplitHostPort(s.Address)
		// With "appendfsync no" every command is written before it is answered, and only the machine's crash loses
		// it. "everysec" may postpone the write for 2 s, which a kill would lose.
		return []*exec.Cmd{exec.Command(programs[0], "--bind", host, "--port", port, "--dir", s.Dir,
			"--appendonly", "yes", "--appendfsync", "no", "--save", "", "--daemonize", "no")}, err
	},

	ready: func(_ *Server, conn net.Conn, pid int) error {
		if _, err := io.WriteString(conn, "INFO server\r\n"); err != nil {
			return err
		}
		r := bufio.NewReader(conn)
		head, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		var length int
		if _, err := fmt.Sscanf(head, "$%d", &length); err != nil {
			return fmt.Errorf("redis answers %q", head) // it loads its data
		}
		info := make([]byte, length)
		if _, err := io.ReadFull(r, info); err != nil {
			return err
		}
		if !strings.Contains(string(info), fmt.Sprintf("process_id:%d\r\n", pid)) {
			return errOther
		}
		return nil
	},
}
