package devpg

import (
	"context"
	"testing"
	"time"
)

// ForTest is Start for a test or benchmark: it fails it, never skips it, when
// no server can be had, and closes the server when it is over. If the test
// failed, the end of the server's log is then added to the test's.
//
// At most one Config may be given. To share one server among tests, call Start
// in TestMain and give each test a database with [Server.DatabaseForTest].
func ForTest(tb testing.TB, config ...Config) *Server {
	tb.Helper()
	var c Config
	switch len(config) {
	case 0:
	case 1:
		c = config[0]
	default:
		tb.Fatal("devpg: ForTest takes at most one Config")
	}
	s, err := Start(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() && s.at != nil {
			tb.Log("devpg: the test failed" + s.at.keeper.log.end())
		}
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// DatabaseForTest is CreateDatabase for a test: it fails the test if that
// fails, drops the database when the test is over, and returns its URL.
func (s *Server) DatabaseForTest(tb testing.TB) string {
	tb.Helper()
	url, err := s.CreateDatabase(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if s.down() {
			return // by the test's doing; Close removes the database with the rest
		}
		if err := s.DropDatabase(ctx, url); err != nil {
			tb.Error(err)
		}
	})
	return url
}
