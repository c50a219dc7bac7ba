package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier/listener"
)

// A slot is one worker process as the database sees it: a listener, replaced now and then by a new
// one, as processes are.
type slot struct {
	name    string
	role    string
	proxied bool
	limited sync.Mutex    // held while the role has too few sessions
	pool    *pgxpool.Pool // tells the listener how to connect
	config  listener.Config
	stopped func(error) // told when Run returns by itself

	mu      sync.Mutex // guards all below
	current *running
	past    listener.Stats // counters of those that were replaced
}

type running struct {
	*listener.Listener
	cancel context.CancelFunc
	done   chan struct{}
}

// newFleet makes n slots: LISTEN, through the proxy, poll only, and LISTEN for the rest.
func (c *chaos) newFleet(ctx context.Context, n int, log *slog.Logger, giveUp func()) error {
	for i := range n {
		s := &slot{name: fmt.Sprintf("LISTEN %d", i+1), role: fmt.Sprintf("chaos_worker_%d", i+1),
			config: listener.Config{Heartbeat: 3 * time.Second}}
		to, err := c.newRole(ctx, s.role)
		if err != nil {
			return err
		}
		switch i {
		case 1:
			s.name, s.proxied, to.Host = "proxied", true, c.net.Addr()
		case 2:
			s.name, s.config.PollOnly = "poll only", true
		}
		s.config.Logger = log.With("listener", s.name)
		if c.opts.verbose {
			s.config.Trace.Checked = func(check listener.Checked) {
				if check.Took > remarkable {
					log.Info("slow check", "listener", s.name, "took", check.Took, "tokens", check.Tokens, "error", check.Err)
				}
			}
		}
		s.stopped = func(err error) {
			c.fail(wrong, nil, s.name+": Run returned by itself: "+err.Error())
			giveUp() // there is nobody to wait with
		}
		config, err := pgxpool.ParseConfig(to.String())
		if err != nil {
			return err
		}
		if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
			return err
		}
		c.fleet = append(c.fleet, s)
		if err := s.replace(); err != nil {
			return err
		}
	}
	return nil
}

// newRole makes a role with a worker's grants, and returns how it connects.
func (c *chaos) newRole(ctx context.Context, name string) (*url.URL, error) {
	u, err := url.Parse(c.server.URL())
	if err != nil {
		return nil, err
	}
	create := "CREATE ROLE " + name + " LOGIN"
	if password, ok := u.User.Password(); ok {
		create += " PASSWORD '" + password + "'"
		u.User = url.UserPassword(name, password)
	} else {
		u.User = url.User(name)
	}
	_, err = c.admin.Exec(ctx, fmt.Sprintf(`%s; GRANT USAGE ON SCHEMA pgbarrier TO %s;
		GRANT EXECUTE ON FUNCTION pgbarrier.version(), pgbarrier.check(uuid[], xid8[]) TO %[2]s`, create, name))
	return u, err
}

func (s *slot) listener() *listener.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.Listener
}

// replace starts a new listener and then stops the old one, whose waits end with ErrClosed.
func (s *slot) replace() error {
	l, err := listener.New(s.pool, s.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	next := &running{Listener: l, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(next.done)
		if err := l.Run(ctx); !errors.Is(err, context.Canceled) {
			s.stopped(err)
		}
	}()
	s.mu.Lock()
	old := s.current
	s.current = next
	s.mu.Unlock()
	if old != nil {
		s.retire(old)
	}
	return nil
}

func (s *slot) retire(r *running) {
	r.cancel()
	<-r.done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past = sum(s.past, r.Stats())
}

// close stops the listener and returns the counters of all that the slot had.
func (s *slot) close() listener.Stats {
	if s.current != nil {
		s.retire(s.current)
	}
	s.pool.Close()
	return s.past
}

func sum(a, b listener.Stats) listener.Stats {
	a.Connections += b.Connections
	a.Announcements += b.Announcements
	a.Malformed += b.Malformed
	a.Checks += b.Checks
	a.FailedChecks += b.FailedChecks
	a.ResolvedByAnnouncement += b.ResolvedByAnnouncement
	a.ResolvedByCheck += b.ResolvedByCheck
	a.ResolvedByMemory += b.ResolvedByMemory
	return a
}
