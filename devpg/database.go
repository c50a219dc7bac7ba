package devpg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// CreateDatabase makes a fresh, empty database (UTF8, locale C, time zone UTC)
// on the server and returns its URL. It costs some tens of milliseconds, so
// that each test can have its own on one server. DropDatabase drops it; so
// does Close.
func (s *Server) CreateDatabase(ctx context.Context) (string, error) {
	if err := s.mustBeOpen(); err != nil {
		return "", err
	}
	name := "devpg_" + randomHex()
	conn, err := connect(ctx, s.url)
	if err != nil {
		return "", fmt.Errorf("devpg: creating a database: %w", err)
	}
	defer closeConn(conn)
	if err := createDatabase(ctx, conn, name); err != nil {
		return "", err
	}
	s.ownedMu.Lock()
	defer s.ownedMu.Unlock()
	if s.databases == nil {
		s.databases = make(map[string]bool)
	}
	s.databases[name] = true
	return inDatabase(s.url, name)
}

// DropDatabase drops a database that CreateDatabase made, given its URL, and
// ends the sessions in it.
func (s *Server) DropDatabase(ctx context.Context, databaseURL string) error {
	if err := s.mustBeOpen(); err != nil {
		return err
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		return fmt.Errorf("devpg: dropping a database: %w", err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	s.ownedMu.Lock()
	known := s.databases[name]
	s.ownedMu.Unlock()
	if !known {
		return fmt.Errorf("devpg: database %q was not made by CreateDatabase, or is dropped already", name)
	}
	conn, err := connect(ctx, s.url)
	if err != nil {
		return fmt.Errorf("devpg: dropping a database: %w", err)
	}
	defer closeConn(conn)
	if err := dropDatabase(ctx, conn, name); err != nil {
		return err
	}
	s.ownedMu.Lock()
	defer s.ownedMu.Unlock()
	delete(s.databases, name)
	return nil
}

// createDatabase copies template0, to which nobody can be connected, so that
// concurrent calls do not disturb one another.
func createDatabase(ctx context.Context, conn *pgx.Conn, name string) error {
	q := pgx.Identifier{name}.Sanitize()
	_, err := conn.Exec(ctx, "create database "+q+" template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'")
	if err != nil {
		return fmt.Errorf("devpg: creating a database: %w", err)
	}
	if _, err := conn.Exec(ctx, "alter database "+q+" set timezone = 'UTC'"); err != nil {
		return errors.Join(fmt.Errorf("devpg: creating a database: %w", err), dropDatabase(ctx, conn, name))
	}
	return nil
}

func dropDatabase(ctx context.Context, conn *pgx.Conn, name string) error {
	_, err := conn.Exec(ctx, "drop database if exists "+pgx.Identifier{name}.Sanitize()+" with (force)")
	if err != nil {
		return fmt.Errorf("devpg: dropping database %s: %w", name, err)
	}
	return nil
}

// inDatabase is serverURL with another database.
func inDatabase(serverURL, name string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

// dropTimeout bounds Close, which has no context, on a server that is not ours.
const dropTimeout = 30 * time.Second
