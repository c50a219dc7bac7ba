package devpg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
)

// Server is a running PostgreSQL server, or, when it comes from DEVPG_URL, a
// database on one. Its methods may be called by several goroutines; those that
// stop or start the server wait for one another.
//
// Whoever called Start, or Standby, owns it and must call Close.
type Server struct {
	source string
	at     *site  // nil: the server is not ours
	admin  string // DEVPG_URL, when it is not

	// major and url are written before Start returns and only read after.
	major int
	url   string

	mu       sync.Mutex        // held while the server is stopped, started or copied
	settings map[string]string // the user's; guarded by mu
	upstream map[string]string // a standby's connection to its primary; written before Standby returns
	exited   <-chan struct{}   // closed when the present run has ended; guarded by mu

	ownedMu   sync.Mutex
	closed    bool
	standbys  []*Server
	databases map[string]bool // made by CreateDatabase and not dropped yet
}

// URL is a superuser's connection URL of a database that is ready for use. It
// stays the same over Restart, Crash and Promote. With DEVPG_URL the user is
// the one that DEVPG_URL names.
func (s *Server) URL() string { return s.url }

// Source says where the server comes from: SourceURL, SourceLocal,
// SourceDocker or SourceDownload.
func (s *Server) Source() string { return s.source }

// Major is the server's major version, such as 17.
func (s *Server) Major() int { return s.major }

// Restart shuts the server down cleanly (sessions are disconnected, as
// pg_ctl's "fast" mode does) and starts it again on the same port and data.
// After Crash it starts the server, which then recovers.
//
// When ctx ends first, the server may be stopped or still starting; another
// Restart brings it back.
func (s *Server) Restart(ctx context.Context) error { return s.RestartWith(ctx, nil) }

// RestartWith is Restart with further settings, which are kept from then on.
// If the server does not start with them, the error has the end of its log and
// the server is down; RestartWith other values brings it back.
func (s *Server) RestartWith(ctx context.Context, settings map[string]string) error {
	if err := checkSettings(settings); err != nil {
		return err
	}
	if err := s.mustBeOurs("restart"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stop(ctx); err != nil {
		return fmt.Errorf("devpg: stopping the server: %w", err)
	}
	s.settings = overlay(s.settings, settings)
	s.at.keeper.log.forget()
	if err := s.launch(ctx); err != nil {
		return fmt.Errorf("devpg: restarting the server: %w", err)
	}
	return nil
}

// Crash ends every process of the server by SIGKILL, at once, and returns when
// they are gone. The data directory stays as the crash left it; Restart starts
// the server again. What it shows is a crash of the server, not of the machine:
// what the server has written to the operating system is not lost.
func (s *Server) Crash(ctx context.Context) error {
	if err := s.mustBeOurs("crash"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.at.keeper.send("crash"); err != nil {
		return err
	}
	if err := s.awaitExit(ctx); err != nil {
		return fmt.Errorf("devpg: crashing the server: %w", err)
	}
	return nil
}

// Promote makes a standby a primary, and returns when it accepts writes.
func (s *Server) Promote(ctx context.Context) error {
	if err := s.mustBeOurs("promote"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	conn, err := connect(ctx, s.url)
	if err != nil {
		return fmt.Errorf("devpg: promoting the standby: %w", err)
	}
	defer closeConn(conn)
	var done bool
	if err := conn.QueryRow(ctx, "select pg_promote(true, 60)").Scan(&done); err != nil {
		return fmt.Errorf("devpg: promoting the standby: %w", err)
	}
	if !done {
		return errors.New("devpg: the standby was not promoted within 60 s")
	}
	return nil
}

// Close ends the server, at once and without regard to its sessions, and
// removes its files; it closes the server's standbys too. With DEVPG_URL it
// drops the databases made. It returns when nothing is left. Further calls do
// nothing.
func (s *Server) Close() error {
	s.ownedMu.Lock()
	standbys, closed := s.standbys, s.closed
	s.standbys, s.closed = nil, true
	s.ownedMu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	for _, standby := range standbys {
		errs = append(errs, standby.Close())
	}
	if s.at == nil {
		errs = append(errs, s.dropAll())
	} else if err := s.at.keeper.close(); err != nil {
		errs = append(errs, fmt.Errorf("devpg: ending the server: %w", err))
	}
	return errors.Join(errs...)
}

func (s *Server) mustBeOurs(verb string) error {
	if s.at == nil {
		return fmt.Errorf("%w: it is the one DEVPG_URL names, and devpg does not %s it; unset DEVPG_URL, or set DEVPG=local or DEVPG=docker", ErrNotOurs, verb)
	}
	return s.mustBeOpen()
}

func (s *Server) mustBeOpen() error {
	s.ownedMu.Lock()
	defer s.ownedMu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return nil
}

// down says whether the server is closed or was left crashed.
func (s *Server) down() bool {
	if s.mustBeOpen() != nil {
		return true
	}
	if s.at == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// stop shuts the server down cleanly, if it runs. s.mu is held.
func (s *Server) stop(ctx context.Context) error {
	select {
	case <-s.exited:
		return nil
	default:
	}
	if err := s.at.keeper.send("stop"); err != nil {
		return err
	}
	return s.awaitExit(ctx)
}

// awaitExit waits until no process of the server is left. s.mu is held.
func (s *Server) awaitExit(ctx context.Context) error {
	select {
	case <-s.exited:
		return nil
	case <-s.at.keeper.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// urlOf is the URL of a database of the server on this port.
func (at *site) urlOf(port int, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User("postgres"),
		Host:     at.host + ":" + strconv.Itoa(port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	if at.password != "" {
		u.User = url.UserPassword("postgres", at.password)
	}
	return u.String()
}
