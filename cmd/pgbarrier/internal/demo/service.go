package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	processes      = 4
	requestsAtOnce = 4 // in each process
	killEvery      = 170 * time.Millisecond
	// A process that is killed has answered so many requests: on a machine so slow that processes are
	// killed faster than they start, nothing would ever be done.
	answersBeforeKill = 10
)

// A service is the orders service: processes that are started, fed, killed and replaced.
type service struct {
	command func(ctx context.Context) *exec.Cmd // a producer process
	message func(Message)                       // called for each message that came through a process's stdout
	killed  func()                              // called for each process that was killed

	mu      sync.Mutex        // guards all below
	running map[*exec.Cmd]int // how many requests they have answered
	commits []response
	failure error // the first that is not the demo's own doing
}

// run serves the requests and returns when all have been answered, or died with their process.
func (s *service) run(ctx context.Context, requests <-chan request) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var slots sync.WaitGroup
	for range processes {
		slots.Go(func() {
			if err := s.keep(ctx, requests); err != nil {
				s.fail(err)
				cancel()
			}
		})
	}
	done := make(chan struct{})
	go func() {
		slots.Wait()
		close(done)
	}()
	s.killAtRandom(done)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// keep runs one process after the other, until there is no request left.
func (s *service) keep(ctx context.Context, requests <-chan request) error {
	for {
		more, err := s.process(ctx, requests)
		if !more || err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// process runs one process until it is killed (more) or there is no request left.
func (s *service) process(ctx context.Context, requests <-chan request) (more bool, err error) {
	cmd := s.command(ctx)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	in, err := cmd.StdinPipe()
	if err != nil {
		return false, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("start a producer process: %w", err)
	}
	s.mu.Lock()
	s.running[cmd] = 0
	s.mu.Unlock()

	free := make(chan struct{}, requestsAtOnce)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.read(cmd, out, free)
	}()
	more = feed(in, requests, free, ended)
	_ = in.Close() // the process may be gone, and the pipe with it
	<-ended
	s.mu.Lock()
	_, alive := s.running[cmd]
	delete(s.running, cmd)
	s.mu.Unlock()
	if err := cmd.Wait(); err != nil && alive && ctx.Err() == nil {
		return false, fmt.Errorf("a producer process failed: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return more, nil
}

// feed hands requests to a process until it has ended (more) or there are none left.
func feed(in io.Writer, requests <-chan request, free chan struct{}, ended <-chan struct{}) (more bool) {
	encoder := json.NewEncoder(in)
	for {
		select {
		case free <- struct{}{}:
		case <-ended:
			return true
		}
		select {
		case r, open := <-requests:
			if !open {
				return false
			}
			// A request that finds the process gone fails, as its client would see it.
			_ = encoder.Encode(r)
		case <-ended:
			return true
		}
	}
}

// read takes what a process writes, until it ends.
func (s *service) read(cmd *exec.Cmd, out io.Reader, free <-chan struct{}) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			s.fail(fmt.Errorf("a producer process wrote %q: %w", lines.Text(), err))
			continue
		}
		switch {
		case l.Message != nil:
			s.message(*l.Message)
		case l.Response != nil:
			<-free
			s.take(cmd, *l.Response)
		}
	}
}

func (s *service) take(cmd *exec.Cmd, r response) {
	if r.Error != "" {
		s.fail(fmt.Errorf("an order could not be placed: %s", r.Error))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if answered, alive := s.running[cmd]; alive {
		s.running[cmd] = answered + 1
	}
	if !r.Committed.IsZero() {
		s.commits = append(s.commits, r)
	}
}

// killAtRandom kills a process every now and then (SIGKILL) until done is closed. Nothing is left to
// the process: no handler, no deferred call, no last message.
func (s *service) killAtRandom(done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(killEvery/2 + rand.N(killEvery)):
		}
		if s.killOne() {
			s.killed()
		}
	}
}

func (s *service) killOne() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cmd, answered := range s.running { // in random order
		if answered < answersBeforeKill {
			continue
		}
		delete(s.running, cmd)
		return cmd.Process.Signal(os.Kill) == nil
	}
	return false
}

func (s *service) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = err
	}
}
