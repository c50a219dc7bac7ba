package devpg

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	readyTimeout = time.Minute          // a server that takes longer hangs
	readyPoll    = 5 * time.Millisecond // the server gives no signal a client could wait for
	portTries    = 20
)

var errPortTaken = errors.New("the port was taken by another program")

// launch runs the server and returns when it accepts connections. The first
// time it chooses the port, which then stays. s.mu is held, or s not shared yet.
func (s *Server) launch(ctx context.Context) error {
	choose := s.at.port == 0
	for try := 1; ; try++ {
		port := s.at.port
		if choose {
			var err error
			if port, err = freePort(s.at.host); err != nil {
				return err
			}
		}
		err := s.launchOn(ctx, port)
		if err == nil {
			s.at.port = port
			return nil
		}
		if !choose || try == portTries || !errors.Is(err, errPortTaken) {
			return err
		}
		s.at.keeper.log.forget()
	}
}

func (s *Server) launchOn(ctx context.Context, port int) error {
	inside := port
	if s.at.inside != 0 {
		inside = s.at.inside
	}
	identity := randomHex()
	exited, err := s.at.keeper.start(overlay(defaultSettings, s.settings,
		s.upstream, portSettings(s.at.listen, inside, identity)))
	if err != nil {
		return err
	}
	s.exited = exited
	if url := s.at.urlOf(port, "postgres"); url != s.url { // not in a restart: URL reads it without a lock
		s.url = url
	}

	limited, cancel := context.WithTimeoutCause(ctx, readyTimeout,
		fmt.Errorf("it did not accept connections within %v", readyTimeout))
	defer cancel()
	last := errors.New("no connection was tried")
	for {
		major, err := s.greet(limited, identity)
		if err == nil {
			if s.major == 0 { // likewise
				s.major = major
			}
			return nil
		}
		if limited.Err() == nil {
			last = err
		}
		select {
		case <-exited:
			log := s.at.keeper.log.end()
			if strings.Contains(log, "could not bind") {
				return &startError{fmt.Errorf("%w%s", errPortTaken, log)}
			}
			return &startError{fmt.Errorf("it ended while starting%s", log)}
		case <-s.at.keeper.done:
			return &startError{fmt.Errorf("it was ended while starting%s", s.at.keeper.log.end())}
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &startError{fmt.Errorf("%w: %w%s", context.Cause(limited), last, s.at.keeper.log.end())}
		case <-time.After(readyPoll):
		}
	}
}

// greet connects, makes sure that it is the server launched that answers, and
// returns its major version.
func (s *Server) greet(ctx context.Context, identity string) (major int, err error) {
	conn, err := connect(ctx, s.url)
	if err != nil {
		return 0, err
	}
	defer closeConn(conn)
	var who, version string
	err = conn.QueryRow(ctx, "select coalesce(current_setting($1, true), ''), current_setting('server_version_num')",
		identitySetting).Scan(&who, &version)
	if err != nil {
		return 0, err
	}
	if who != identity {
		return 0, errPortTaken
	}
	n, err := strconv.Atoi(version)
	return n / 10000, err
}

// freePort picks a port that is free now, between 15000 and 32000: below the
// ranges from which systems take ports for outgoing connections (from 32768 on
// Linux, 49152 on macOS). So no outgoing connection takes the port while the
// server is down between Crash and Restart, and no client that retries then
// connects to itself.
func freePort(host string) (int, error) {
	var last error
	for range 100 {
		port := 15000 + mathrand.IntN(17000)
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port between 15000 and 32000: %w", last)
}

func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	return pgx.ConnectConfig(ctx, c)
}

// closeConn says goodbye even when the caller's context has ended.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn.Close(ctx)
}

func randomHex() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
