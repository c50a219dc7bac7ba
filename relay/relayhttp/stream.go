package relayhttp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

var (
	errSilent   = errors.New("the relay says nothing")
	errOver     = errors.New("the relay goes on after the time of the request")
	errNonsense = errors.New("the answer is not a relay's")
)

// open sends b's waits to a relay. When that has taken them, a goroutine reads the outcomes.
func (c *Client) open(b *batch) {
	timed, stop := context.WithTimeoutCause(c.life, requestTime+c.config.Ping+c.config.Silence, errOver)
	ctx, cancel := context.WithCancelCause(timed)
	b.cancel = func() { cancel(nil) }
	silence := time.AfterFunc(c.config.Silence, func() { cancel(errSilent) })
	end := func() {
		silence.Stop()
		cancel(nil)
		stop()
	}

	request := waitsRequest{Request: rand.Text(), WaitMS: requestTime.Milliseconds(), PingMS: c.config.Ping.Milliseconds()}
	c.mu.Lock()
	for id, w := range b.waits {
		request.Waits = append(request.Waits, waitRequest{ID: id, Tokens: texts(w.tokens)})
	}
	c.mu.Unlock()
	slices.SortFunc(request.Waits, func(x, y waitRequest) int { return int(x.ID) - int(y.ID) })
	resp, err := c.post(ctx, waitsPath, request)
	if err != nil {
		end()
		c.failed(err)
		c.give(b)
		return
	}
	in := bufio.NewReaderSize(resp.Body, 16<<10)
	if err = readLine(in, func(l line) error { return l.is(request.Request) }); err != nil {
		_ = resp.Body.Close()
		c.failed(causeOf(ctx, err))
		end()
		c.give(b)
		return
	}
	c.answered()
	c.taken(b)
	c.tasks.Go(func() {
		defer end()
		defer c.give(b)
		defer resp.Body.Close()
		for over := false; !over; {
			silence.Reset(c.config.Ping + c.config.Silence)
			err := readLine(in, func(l line) (err error) {
				over, err = c.hear(b, l)
				return err
			})
			if err != nil {
				if !c.unwanted(b) {
					c.failed(causeOf(ctx, err))
				}
				return
			}
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(in, 1024)) // so that the connection can be used again
	})
}

// post sends a request and returns the answer if that is 200.
func (c *Client) post(ctx context.Context, path string, body any) (*http.Response, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	url := c.config.URLs[c.relay]
	c.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Cache-Control", "no-store")
	if c.config.Bearer != "" {
		r.Header.Set("Authorization", "Bearer "+c.config.Bearer)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return nil, &refusal{url: url, code: resp.StatusCode, text: string(bytes.TrimSpace(text)), after: time.Duration(seconds) * time.Second}
}

// A refusal is an answer that is not 200.
type refusal struct {
	url   string
	code  int
	text  string
	after time.Duration
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%s answers %d: %.200s", r.url, r.code, r.text)
}

// causeOf returns why ctx ended, if it has, in place of what that did to a request.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// readLine reads a line, and does not believe one that has no end.
func readLine(in *bufio.Reader, hear func(line) error) error {
	text, err := in.ReadSlice('\n')
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("%w: %w", errNonsense, err)
	}
	return hear(l)
}

// is returns nil if the line begins the answer of the request.
func (l line) is(request string) error {
	if l.Request != request {
		return fmt.Errorf("%w: it is for request %.40q", errNonsense, l.Request)
	}
	return nil
}

// hear takes a line of b's answer, and reports whether it is the last.
func (c *Client) hear(b *batch, l line) (last bool, err error) {
	switch {
	case l.End == endDrain:
		c.moveOn()
		return true, nil
	case l.End != "":
		return true, nil
	case l == (line{}): // a ping
		return false, nil
	case l.ID == 0:
		return false, fmt.Errorf("%w: a line is of no wait", errNonsense)
	}
	c.mu.Lock()
	w := c.waits[l.ID]
	if w == nil { // it was stopped, or another batch has had its answer
		c.mu.Unlock()
		return false, nil
	}
	if l.Outcome == "" && l.Error != "" {
		c.postpone(b, w, l.Error)
		c.mu.Unlock()
		return false, nil
	}
	status, known := statusOf(l.Outcome)
	token, err := pgbarrier.ParseToken(l.Token)
	switch {
	case err == nil && !slices.Contains(w.tokens, token), status == pgbarrier.Committed && token != w.tokens[0]:
		err = errors.New("it is of another token")
	case !known || status == pgbarrier.Pending:
		err = fmt.Errorf("%.40q is no outcome", l.Outcome)
	}
	if err != nil {
		c.mu.Unlock()
		return false, fmt.Errorf("%w: %w", errNonsense, err)
	}
	c.forget(w)
	delete(c.foreign, w.tokens[0].Origin)
	c.mu.Unlock()
	w.f(status.Err(token))
	return false, nil
}

// postpone sends a wait again later that the relay has not accepted. It is called with mu held.
func (c *Client) postpone(b *batch, w *wait, why string) {
	if w.batch != b {
		return // it is with another one
	}
	if origin := w.tokens[0].Origin; why == wordUnknown && !c.foreign[origin] {
		c.foreign[origin] = true
		c.config.Logger.Warn("pgbarrier: relayhttp: no relay serves the database of a token, its wait goes on", "token", w.tokens[0].String())
	}
	b.leave(w)
	w.tries++
	w.delay = time.AfterFunc(backoff(w.tries, 200*time.Millisecond, 5*time.Second), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.waits[w.id] == w {
			w.delay = nil
			c.enqueue(w)
		}
	})
}

// backoff is a random pause that doubles with each try, from half of least to most.
func backoff(tries int, least, most time.Duration) time.Duration {
	d := min(most, least<<min(tries-1, 20))
	return d/2 + mathrand.N(d/2)
}

// unwanted reports whether b's request was given up because nobody waits for it.
func (c *Client) unwanted(b *batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed || len(b.waits) == 0
}

// pause returns how long to wait before the next request.
func (c *Client) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	pause := c.busy
	c.busy = 0
	if c.failures > 0 {
		pause += backoff(c.failures, 50*time.Millisecond, 2*time.Second)
	}
	return pause
}

// failed notes that a request failed. The next one goes to another relay.
func (c *Client) failed(err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.failures++
	c.relay = (c.relay + 1) % len(c.config.URLs)
	var refused *refusal
	if errors.As(err, &refused) {
		c.busy = min(refused.after, 10*time.Second)
		if refused.code == http.StatusRequestEntityTooLarge {
			c.config.MaxBatch = max(1, c.config.MaxBatch/2)
		}
	}
	first := c.trouble == nil
	c.trouble = fmt.Errorf("pgbarrier: relayhttp: %w", err)
	c.mu.Unlock()
	if first {
		c.config.Logger.Warn("pgbarrier: relayhttp: a relay does not answer, waits go on", "error", err)
	}
	// What is behind a service's address may be another one, for a connection that is made now.
	c.http.CloseIdleConnections()
}

// answered notes that a relay has answered.
func (c *Client) answered() {
	c.mu.Lock()
	again := c.trouble != nil
	c.failures, c.trouble = 0, nil
	c.mu.Unlock()
	if again {
		c.config.Logger.Info("pgbarrier: relayhttp: a relay answers again")
	}
}

// moveOn makes the next request go to another relay, because this one stops.
func (c *Client) moveOn() {
	c.mu.Lock()
	c.relay = (c.relay + 1) % len(c.config.URLs)
	c.mu.Unlock()
	c.http.CloseIdleConnections()
}
