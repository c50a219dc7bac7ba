package devpg

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNoServer is wrapped by Start's error when no source had a server. The
	// message says for each source why, and what to install.
	ErrNoServer = errors.New("devpg: no PostgreSQL server can be had")

	// ErrNotOurs is wrapped by the errors of methods that stop, copy or
	// configure a server, when the server is that of DEVPG_URL.
	ErrNotOurs = errors.New("devpg: the server was not started by devpg")

	// ErrClosed is wrapped by the errors of methods called after Close.
	ErrClosed = errors.New("devpg: the server is closed")
)

const whatToInstall = `to have one, do one of these:
  apt-get install postgresql          (Debian, Ubuntu)
  dnf install postgresql-server       (Fedora, RHEL)
  brew install postgresql@17          (macOS)
  start Docker, or set DOCKER_HOST to an engine that runs
  set DEVPG_URL=postgres://user:password@host:port/postgres to a server where databases may be created`

// searchError tells what became of each source.
type searchError struct {
	sources []string
	errs    []error
}

func (e *searchError) Error() string {
	var b strings.Builder
	b.WriteString(ErrNoServer.Error())
	for i, source := range e.sources {
		fmt.Fprintf(&b, "\n  %s: %s", source, strings.ReplaceAll(e.errs[i].Error(), "\n", "\n  "))
	}
	b.WriteString("\n" + whatToInstall)
	return b.String()
}

func (e *searchError) Unwrap() []error { return append([]error{ErrNoServer}, e.errs...) }

// startError is a server that was there but did not come up, such as for a
// setting it does not know. Another source would fail the same way.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }
