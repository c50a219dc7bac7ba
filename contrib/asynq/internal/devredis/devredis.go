// Package devredis starts a redis-server for tests and examples, on a free port of the loopback interface.
package devredis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a running redis-server. It ends with the process that started it, even if that is killed.
type Server struct {
	Addr string // host and port; the same after Restart

	path, dir string

	mu   sync.Mutex
	run  *run
	last bytes.Buffer // what the server printed
}

// run is one process of the server.
type run struct {
	server, keeper *exec.Cmd
	held           io.Closer     // the keeper kills the server when this is closed
	exited         chan struct{} // closed when the server has ended
}

// Start starts a server that keeps its data in dir, and returns when it answers.
func Start(ctx context.Context, dir string) (*Server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("redis-server is not installed: apt-get install redis-server (%w)", err)
	}
	for range 5 { // somebody else may take the port meanwhile
		s := &Server{Addr: freeAddress(), path: path, dir: dir}
		if err = s.start(ctx); err == nil {
			return s, nil
		}
		s.stop()
	}
	return nil, err
}

// Restart kills the server, at once, and starts it again with the data that it had acknowledged.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	return s.start(ctx)
}

// Close kills the server.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
}

func (s *Server) start(ctx context.Context) error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	s.last.Reset()
	// With "appendfsync no" every command is written before it is answered, and only the machine's crash loses it.
	// "everysec" may postpone the write for 2 s, which a kill would lose.
	server := exec.Command(s.path, "--bind", "127.0.0.1", "--port", port, "--dir", s.dir,
		"--appendonly", "yes", "--appendfsync", "no", "--save", "", "--daemonize", "no")
	server.Stdout, server.Stderr = &s.last, &s.last
	if err := server.Start(); err != nil {
		return err
	}
	r := &run{server: server, exited: make(chan struct{})}
	go func() {
		_ = server.Wait()
		close(r.exited)
	}()
	r.keeper = exec.Command("sh", "-c", "read -r _; kill -9 "+strconv.Itoa(server.Process.Pid))
	if r.held, err = r.keeper.StdinPipe(); err == nil {
		err = r.keeper.Start()
	}
	if err != nil {
		_ = server.Process.Kill()
		<-r.exited
		return err
	}
	s.run = r
	return s.ready(ctx)
}

// ready waits until the server answers.
func (s *Server) ready(ctx context.Context) error {
	client := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer func() { _ = client.Close() }()
	for {
		info, err := client.Info(ctx, "server").Result()
		if err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.run.server.Process.Pid)) {
			return nil // and not somebody else's, who has taken the port
		}
		select {
		case <-s.run.exited:
			return fmt.Errorf("redis-server has ended: %s", s.last.String())
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *Server) stop() {
	if s.run == nil {
		return
	}
	// The keeper first: it would kill a process that has ended, whose id may be another's by now.
	_ = s.run.keeper.Process.Kill()
	_ = s.run.keeper.Wait()
	_ = s.run.server.Process.Kill()
	<-s.run.exited
	_ = s.run.held.Close()
	s.run = nil
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
