// Package devbroker gives a message broker in one call, for tests, examples and the demonstration, as devpg gives a
// PostgreSQL. It starts the server program that is installed, on free ports of the loopback interface, with its files
// in a directory that goes with it. It speaks each protocol just well enough to see that the server is there.
//
// What it starts does not outlive the process that started it, also if that is killed: a small shell process holds the
// reading end of a pipe, and ends the server when the pipe breaks.
package devbroker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A Kind is a broker of which there can be servers: [Redis], [NATS], [RabbitMQ].
type Kind struct {
	name     string
	scheme   string // of its URLs
	programs []string
	paths    []string // where packages have the first program, if not on PATH
	install  string   // packages
	env      string   // names the URL of a server that runs already

	// run returns the commands of the server, which is the first, and of what it needs beside it.
	run func(s *Server, programs []string) ([]*exec.Cmd, error)
	// ready returns nil if it is the server of that process that has answered, and that can be used.
	ready func(s *Server, conn net.Conn, pid int) error
}

// String returns the broker's name.
func (k *Kind) String() string { return k.name }

// A Server is a broker that runs.
type Server struct {
	URL     string // for the broker's own client
	Address string // host and port, the same after a restart; "" if the environment has named the server
	Dir     string // its files

	kind     *Kind
	programs []string

	mu      sync.Mutex
	process *process // nil: it does not run
}

const (
	// startTimeout is for a machine that does much else: RabbitMQ takes 6 s where it is alone.
	startTimeout = 3 * time.Minute

	readyTimeout, readyPause = time.Second, 20 * time.Millisecond
)

// Open returns the server that DEVBROKER_REDIS_URL, DEVBROKER_NATS_URL or DEVBROKER_RABBITMQ_URL names in the
// environment, or else starts one.
func Open(ctx context.Context, k *Kind) (*Server, error) {
	if url := os.Getenv(k.env); url != "" {
		return &Server{URL: url, kind: k}, nil
	}
	return Start(ctx, k)
}

// Start starts a server and returns when it can be used. The error says what to install.
func Start(ctx context.Context, k *Kind) (*Server, error) {
	programs, err := k.find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgbarrier-"+k.name+"-")
	if err != nil {
		return nil, err
	}
	for range 5 { // somebody else may take a port before the server does
		s := &Server{Address: fmt.Sprintf("127.0.0.1:%d", freePort()), Dir: dir, kind: k, programs: programs}
		s.URL = k.scheme + "://" + s.Address
		if err = s.start(ctx); err == nil {
			return s, nil
		}
		s.process.kill()
		if !errors.Is(err, errEnded) {
			break
		}
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// find returns the programs' paths.
func (k *Kind) find() (found []string, err error) {
	for i, program := range k.programs {
		path, err := exec.LookPath(program)
		for _, usual := range k.paths {
			if i > 0 {
				break
			}
			if _, missing := os.Stat(usual); missing == nil { // also where PATH has a wrapper
				path, err = usual, nil
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not installed: apt-get install %s, or set %s to a server's URL", program, k.install, k.env)
		}
		found = append(found, path)
	}
	return found, nil
}

// Restart stops the server in order, and starts it again with its data.
func (s *Server) Restart(ctx context.Context) error { return s.again(ctx, (*process).stop) }

// Crash kills the server, and starts it again with what it had on disk.
func (s *Server) Crash(ctx context.Context) error { return s.again(ctx, (*process).kill) }

func (s *Server) again(ctx context.Context, end func(*process)) error {
	if s.Address == "" {
		return fmt.Errorf("devbroker: the %s server is not ours to stop", s.kind)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	end(s.process)
	return s.start(ctx)
}

// Close kills the server and removes its files. It leaves one that the environment has named as it is.
func (s *Server) Close() error {
	if s.Address == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process.kill()
	s.process = nil
	return os.RemoveAll(s.Dir)
}

var errEnded = errors.New("the server has ended")

func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	commands, err := s.kind.run(s, s.programs)
	if err != nil {
		return err
	}
	if s.process, err = launch(s.Dir, commands); err != nil {
		return err
	}
	for {
		if err = s.answers(ctx); err == nil {
			return nil
		}
		select {
		case <-s.process.exited:
			err = errEnded
		case <-ctx.Done():
			err = errors.Join(ctx.Err(), err)
		case <-time.After(readyPause):
			continue
		}
		return fmt.Errorf("devbroker: start %s: %w: %s", s.kind, err, s.Log())
	}
}

func (s *Server) answers(ctx context.Context) error {
	dialer := net.Dialer{Timeout: readyTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", s.Address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(readyTimeout)); err != nil {
		return err
	}
	return s.kind.ready(s, conn, s.process.pid())
}

// freePort returns a port below those that the system hands out by itself, to a client while the server restarts.
func freePort() int {
	for {
		port := 15000 + rand.IntN(15000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
}
