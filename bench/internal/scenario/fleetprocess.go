package scenario

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// A fleetProcess is one listening process: this program, started again.
type fleetProcess struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	lines  *log.Logger // a token each
	reader sync.WaitGroup

	mu      sync.Mutex
	running map[int64]int64 // number → Unix time in nanoseconds
	checks  uint64
}

func startFleetProcess(ctx context.Context, url string) (*fleetProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &fleetProcess{cmd: exec.CommandContext(ctx, self), running: map[int64]int64{}}
	// One thread at a time, so that a hundred processes on few CPUs are not a hundred garbage collectors.
	p.cmd.Env = append(os.Environ(), listenerURL+"="+url, "GOMAXPROCS=1")
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	p.lines = log.New(p.in, "", 0)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	return p, p.cmd.Start()
}

// ready returns when the process listens.
func (p *fleetProcess) ready() error {
	if !p.out.Scan() || p.out.Text() != "ready" {
		return errors.New("a listening process did not become ready")
	}
	p.reader.Go(func() {
		for p.out.Scan() {
			number, value, _ := strings.Cut(p.out.Text(), " ")
			v, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				continue
			}
			p.mu.Lock()
			if number == "checks" {
				p.checks = uint64(v)
			} else if n, err := strconv.ParseInt(number, 10, 64); err == nil {
				p.running[n] = v
			}
			p.mu.Unlock()
		}
	})
	return nil
}

// wait hands a token to the process.
func (p *fleetProcess) wait(number int64, t pgbarrier.Token) {
	p.lines.Print(number, " ", t)
}

// ran returns when the wait of that number ended, and false if it has not.
func (p *fleetProcess) ran(number int64) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.running[number]
	return time.Unix(0, at), ok
}

// end lets the process finish.
func (p *fleetProcess) end() error {
	_ = p.in.Close() // it may be gone
	p.reader.Wait()
	return p.cmd.Wait()
}
