package relayhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

const (
	minPing      = 100 * time.Millisecond
	writeTimeout = 10 * time.Second // of a client that does not read
)

// postWaits is POST /v1/waits: many waits, whose outcomes are lines of the answer as they come.
func (h *Handler) postWaits(w http.ResponseWriter, r *http.Request) {
	var request waitsRequest
	if err := h.read(w, r, &request); err != nil {
		h.refuse(w, r, err)
		return
	}
	select {
	case <-h.relay.Draining():
		h.refuse(w, r, errStopped)
		return
	default:
	}
	patience := min(milliseconds(request.WaitMS), h.config.MaxWait)
	ping := max(milliseconds(request.PingMS), minPing)
	if request.PingMS <= 0 {
		ping = patience
	}

	s := &stream{out: w, control: http.NewResponseController(w), waits: make(map[uint64]waitRequest), news: make(chan struct{}, 1)}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if err := s.write(line{Request: request.Request}); err != nil {
		return
	}
	session := h.relay.Open(s.ended)
	defer session.Close()
	for _, wait := range request.Waits {
		s.add(wait)
		tokens, err := parseTokens(wait.Tokens)
		if err == nil {
			err = session.Wait(wait.ID, tokens...)
		}
		if err != nil {
			s.refused(wait.ID, err)
		}
	}

	over := time.NewTimer(patience)
	defer over.Stop()
	silence := time.NewTimer(ping)
	defer silence.Stop()
	for {
		lines, left := s.take()
		end := ""
		if left == 0 {
			end = endAll
		}
		if len(lines) == 0 && end == "" {
			select {
			case <-s.news:
				continue
			case <-silence.C:
				lines = []line{{}}
			case <-over.C:
				end = endTime
			case <-h.relay.Draining():
				end = endDrain
			case <-r.Context().Done():
				return
			}
		}
		if end != "" {
			late, _ := s.take()
			lines = append(append(lines, late...), line{End: end})
		}
		if err := s.write(lines...); err != nil || end != "" {
			return
		}
		silence.Reset(ping)
	}
}

func milliseconds(n int64) time.Duration {
	return time.Duration(max(0, min(n, int64(24*time.Hour/time.Millisecond)))) * time.Millisecond
}

// A stream is the answer of one request.
type stream struct {
	out     http.ResponseWriter
	control *http.ResponseController

	mu    sync.Mutex
	waits map[uint64]waitRequest // that have not ended
	lines []line                 // to be written
	news  chan struct{}          // holds something when there are lines
}

func (s *stream) add(wait waitRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits[wait.ID] = wait
}

// ended is told by the session, by a goroutine that must not be held up.
func (s *stream) ended(id uint64, status pgbarrier.Status, index int) {
	if status == pgbarrier.Pending {
		s.tell(line{ID: id, Error: wordClosed})
		return
	}
	s.mu.Lock()
	wait := s.waits[id]
	s.mu.Unlock()
	if index < len(wait.Tokens) {
		s.tell(line{ID: id, Outcome: status.String(), Token: wait.Tokens[index]})
	}
}

func (s *stream) refused(id uint64, err error) {
	if errors.Is(err, pgbarrier.ErrInvalidToken) {
		s.tell(line{ID: id, Outcome: pgbarrier.Invalid.String(), Error: err.Error()})
		return
	}
	s.tell(line{ID: id, Error: errorWord(err)})
}

func (s *stream) tell(l line) {
	s.mu.Lock()
	delete(s.waits, l.ID)
	s.lines = append(s.lines, l)
	s.mu.Unlock()
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// take returns the lines that are to be written, and how many waits have not ended.
func (s *stream) take() (lines []line, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines, s.lines = s.lines, nil
	return lines, len(s.waits)
}

// write sends lines in one piece. A client that does not read must not keep its waits for longer than a moment.
func (s *stream) write(lines ...line) error {
	var text []byte
	for _, l := range lines {
		encoded, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("pgbarrier: relayhttp: %w", err)
		}
		text = append(append(text, encoded...), '\n')
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.out.Write(text); err != nil {
		return err
	}
	return s.control.Flush()
}
