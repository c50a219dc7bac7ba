package devpg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// connectTimeout is how long the server of DEVPG_URL may take to answer, when
// the caller's context allows more.
const connectTimeout = 10 * time.Second

// startURL makes a database on the server of DEVPG_URL, which is not ours: it
// is neither configured nor stopped.
func startURL(ctx context.Context, w wish) (*Server, error) {
	if w.url == "" {
		return nil, errors.New("DEVPG_URL is not set")
	}
	u, err := url.Parse(w.url)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		// The value may hold a password, so it is not repeated.
		return nil, errors.New("DEVPG_URL is not a URL of the form postgres://user:password@host:port/postgres")
	}
	if len(w.settings) > 0 {
		return nil, fmt.Errorf("%w: it is the one DEVPG_URL names, and devpg does not change its settings; unset DEVPG_URL, or set DEVPG=local or DEVPG=docker", ErrNotOurs)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := connect(ctx, w.url)
	if err != nil {
		return nil, fmt.Errorf("the server of DEVPG_URL: %w", err)
	}
	defer closeConn(conn)
	var version string
	if err := conn.QueryRow(ctx, "select current_setting('server_version_num')").Scan(&version); err != nil {
		return nil, fmt.Errorf("the server of DEVPG_URL: %w", err)
	}
	num, err := strconv.Atoi(version)
	if err != nil {
		return nil, fmt.Errorf("the server of DEVPG_URL: its version is %q", version)
	}
	s := &Server{source: SourceURL, major: num / 10000, admin: w.url}
	if err := w.accepts(s.major); err != nil {
		return nil, fmt.Errorf("the server of DEVPG_URL %w", err)
	}
	name := "devpg_" + randomHex()
	if err := createDatabase(ctx, conn, name); err != nil {
		return nil, fmt.Errorf("the server of DEVPG_URL: %w", err)
	}
	if s.url, err = inDatabase(w.url, name); err != nil {
		return nil, err
	}
	return s, nil
}

// dropAll drops what devpg made on the server of DEVPG_URL. s is closed.
func (s *Server) dropAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
	defer cancel()
	conn, err := connect(ctx, s.admin)
	if err != nil {
		return fmt.Errorf("devpg: dropping the databases made: %w", err)
	}
	defer closeConn(conn)
	u, err := url.Parse(s.url)
	if err != nil {
		return err
	}
	errs := []error{dropDatabase(ctx, conn, strings.TrimPrefix(u.Path, "/"))}
	for name := range s.databases {
		errs = append(errs, dropDatabase(ctx, conn, name))
	}
	return errors.Join(errs...)
}
