package devbroker

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A process is a server that was started, with what it needs beside it.
type process struct {
	commands []*exec.Cmd // the server's is the first
	keeper   *exec.Cmd
	held     io.Closer     // the keeper ends everything when this is closed
	exited   chan struct{} // closed when the server has ended
	others   sync.WaitGroup
}

// keeperScript gets the directory and the processes' ids.
const keeperScript = `read -r _; dir=$1; shift; kill -9 "$@"; sleep 0.2; rm -rf "$dir"`

// stopTimeout is how long a server may take to stop in order.
const stopTimeout = time.Minute

func launch(dir string, commands []*exec.Cmd) (*process, error) {
	log, err := os.OpenFile(logOf(dir), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p := &process{exited: make(chan struct{})}
	args := []string{"-c", keeperScript, "keeper", dir}
	for i := len(commands) - 1; i >= 0; i-- { // the server last
		cmd := commands[i]
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
		apart(cmd)
		if err := cmd.Start(); err != nil {
			p.kill()
			return nil, err
		}
		args = append(args, fmt.Sprint(cmd.Process.Pid))
		p.commands = append([]*exec.Cmd{cmd}, p.commands...)
		wait := func() { _ = cmd.Wait() }
		if i == 0 {
			wait = func() { _ = cmd.Wait(); close(p.exited) }
		}
		p.others.Go(wait)
	}
	p.keeper = exec.Command("/bin/sh", args...)
	apart(p.keeper)
	if p.held, err = p.keeper.StdinPipe(); err == nil {
		err = p.keeper.Start()
	}
	if err != nil {
		p.keeper = nil
		p.kill()
		return nil, err
	}
	return p, nil
}

func (p *process) pid() int { return p.commands[0].Process.Pid }

// stop ends the server in order.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.commands[0].Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
	}
	p.kill()
}

// kill ends everything at once. It may be called again, and on nil.
func (p *process) kill() {
	if p == nil {
		return
	}
	if p.keeper != nil {
		// First: it would kill a process that has ended, whose id may be another's by now.
		_ = p.keeper.Process.Kill()
		_ = p.keeper.Wait()
		_ = p.held.Close()
		p.keeper = nil
	}
	for _, cmd := range p.commands {
		_ = cmd.Process.Kill()
	}
	p.others.Wait()
}

func logOf(dir string) string { return filepath.Join(dir, "output") }

// Log returns the end of what the server has printed.
func (s *Server) Log() string {
	text, _ := os.ReadFile(logOf(s.Dir))
	return string(text[max(0, len(text)-4000):])
}
