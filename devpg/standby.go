package devpg

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Standby makes a streaming standby of this server and returns when it accepts
// reading sessions; it may then still be behind. It is copied with the
// replication protocol's BASE_BACKUP, which needs neither a stop of the server
// nor the program pg_basebackup, and streams without a replication slot. It has
// this server's settings.
//
// The caller should Close it; Close of this server does so too. A standby of a
// standby works the same way. Tablespaces are not supported.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	if err := s.mustBeOurs("copy"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, err := s.at.another(ctx)
	if err != nil {
		return nil, fmt.Errorf("devpg: making a standby: %w", err)
	}
	at.password = s.at.password // copied with the data
	standby := &Server{
		source:   s.source,
		at:       at,
		settings: overlay(s.settings),
		upstream: map[string]string{"primary_conninfo": s.at.conninfo()},
	}
	if err := s.copyTo(ctx, standby); err != nil {
		at.keeper.close()
		return nil, fmt.Errorf("devpg: making a standby: %w", err)
	}
	s.ownedMu.Lock()
	closed := s.closed
	if !closed {
		s.standbys = append(s.standbys, standby)
	}
	s.ownedMu.Unlock()
	if closed {
		standby.Close()
		return nil, fmt.Errorf("devpg: making a standby: %w", ErrClosed)
	}
	return standby, nil
}

func (s *Server) copyTo(ctx context.Context, standby *Server) error {
	k := standby.at.keeper
	if err := k.ask(ctx, "empty"); err != nil {
		return err
	}
	err := standby.at.unpack(ctx, func(to func(part []byte) error) error {
		return baseBackup(ctx, s.url, s.major, to)
	})
	if err != nil {
		return err
	}
	if err := k.send("standby"); err != nil {
		return err
	}
	return standby.launch(ctx)
}

// conninfo is how another server of the same source reaches this one.
func (at *site) conninfo() string {
	port := at.port
	if at.inside != 0 {
		port = at.inside
	}
	words := []string{"host=" + at.peerHost, "port=" + strconv.Itoa(port), "user=postgres", "sslmode=disable"}
	if at.password != "" {
		words = append(words, "password="+at.password)
	}
	return strings.Join(words, " ")
}
