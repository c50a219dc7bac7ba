package devpg

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

//go:embed keeper.sh
var keeperScript string

// keeper is this end of a running keeper.sh, which holds one server. The same
// script runs as a child process and as the first process of a container.
//
// Its commands may be given by one goroutine at a time; close by any.
type keeper struct {
	in  io.WriteCloser // its stdin: the server lives as long as this is open
	dir string         // its directory, there where it runs
	log *tail

	replies chan string   // one for each command that has one
	done    chan struct{} // closed when the keeper has ended and all was read
	end     func() error  // waits until the keeper's process has ended

	closeOnce sync.Once
	closeErr  error

	mu     sync.Mutex
	runs   int
	exited map[int]chan struct{} // by number of the run; closed when no process of it is left
}

const replyMark = "devpg-keeper: "

// newKeeper reads what the keeper writes to out until that ends, then calls
// end. The keeper's directory has been made when it returns.
func newKeeper(ctx context.Context, in io.WriteCloser, out io.Reader, log io.Writer, end func() error) (*keeper, error) {
	k := &keeper{
		in:      in,
		log:     &tail{to: log},
		replies: make(chan string, 1),
		done:    make(chan struct{}),
		end:     end,
		exited:  make(map[int]chan struct{}),
	}
	go k.read(out)
	dir, err := k.reply(ctx)
	if err != nil {
		k.close()
		return nil, err
	}
	k.dir = dir
	return k, nil
}

func (k *keeper) read(out io.Reader) {
	defer close(k.done)
	r := bufio.NewReaderSize(out, 64<<10)
	for {
		line, err := r.ReadSlice('\n')
		if reply, ok := strings.CutPrefix(string(line), replyMark); ok {
			k.take(strings.TrimSuffix(reply, "\n"))
		} else {
			k.log.Write(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	k.closeErr = k.end()
}

func (k *keeper) take(reply string) {
	n, ok := strings.CutPrefix(reply, "exited ")
	if !ok {
		select {
		case k.replies <- reply:
		default: // nobody asked: only after a cancelled command, and then k is closed
		}
		return
	}
	run, err := strconv.Atoi(n)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, ok := k.exited[run]; ok {
		close(c)
		delete(k.exited, run)
	}
}

// send gives a command that has no reply.
func (k *keeper) send(command string) error {
	if _, err := io.WriteString(k.in, command+"\n"); err != nil {
		return fmt.Errorf("devpg: the server's keeper has ended: %w", err)
	}
	return nil
}

// ask gives a command and waits for its reply. After an error k is of no use
// but to be closed.
func (k *keeper) ask(ctx context.Context, command string) error {
	if err := k.send(command); err != nil {
		return err
	}
	_, err := k.reply(ctx)
	return err
}

func (k *keeper) reply(ctx context.Context) (string, error) {
	var reply string
	select {
	case reply = <-k.replies:
	case <-k.done:
		select {
		case reply = <-k.replies: // its last words
		default:
			return "", fmt.Errorf("the server's keeper ended%s", k.log.end())
		}
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if rest, ok := strings.CutPrefix(reply, "ok"); ok {
		return strings.TrimSpace(rest), nil
	}
	return "", fmt.Errorf("%s%s", strings.TrimPrefix(reply, "failed: "), k.log.end())
}

// start runs the server with these settings. The channel it returns is closed
// when all processes of that run have ended.
func (k *keeper) start(settings map[string]string) (exited <-chan struct{}, err error) {
	for _, line := range confLines(settings) {
		if err := k.send("conf " + line); err != nil {
			return nil, err
		}
	}
	c := make(chan struct{})
	k.mu.Lock()
	k.runs++
	k.exited[k.runs] = c
	k.mu.Unlock()
	return c, k.send("start")
}

// close ends the server and its files, and returns when they are gone.
func (k *keeper) close() error {
	k.closeOnce.Do(func() { k.in.Close() })
	<-k.done
	return k.closeErr
}

// tail passes a server's log on and keeps its end for error messages.
type tail struct {
	to io.Writer // nil: nowhere

	mu  sync.Mutex
	buf []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	t.mu.Unlock()
	if t.to != nil {
		t.to.Write(p) // its failure is no reason to stop the server
	}
	return len(p), nil
}

// end gives the end of the log as the end of an error message.
func (t *tail) end() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := strings.TrimSpace(string(t.buf))
	if s == "" {
		return ""
	}
	return "; the end of the server's log:\n\t" + strings.ReplaceAll(s, "\n", "\n\t")
}

// forget drops what was kept, before a new run whose failure it would blur.
func (t *tail) forget() {
	t.mu.Lock()
	t.buf = t.buf[:0]
	t.mu.Unlock()
}

// oneAtATime lets several servers log to one writer.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneAtATime) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}
