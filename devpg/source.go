package devpg

import (
	"context"
	"errors"
	"fmt"
)

// Start gives a server from the first source that has one, as the package
// comment describes. It returns when the server accepts connections; when it
// returns an error, nothing it started is left.
//
// ctx bounds Start alone, not the life of the server: that ends with Close, or
// with this process.
//
// When no source has a server the error wraps ErrNoServer.
func Start(ctx context.Context, c Config) (*Server, error) {
	w, err := c.wish()
	if err != nil {
		return nil, err
	}
	if w.log != nil {
		w.log = &oneAtATime{w: w.log}
	}
	failed := &searchError{}
	for _, source := range w.sources {
		s, err := startFrom(ctx, source, w)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("devpg: starting a server (%s): %w", source, err)
		}
		var start *startError
		if errors.As(err, &start) {
			return nil, fmt.Errorf("devpg: the %s server did not start: %w", source, err)
		}
		failed.sources = append(failed.sources, source)
		failed.errs = append(failed.errs, err)
	}
	return nil, failed
}

func startFrom(ctx context.Context, source string, w wish) (*Server, error) {
	var at *site
	var err error
	switch source {
	case SourceURL:
		return startURL(ctx, w)
	case SourceLocal:
		at, err = localSite(ctx, w)
	case SourceDocker:
		at, err = dockerSite(ctx, w)
	case SourceDownload:
		at, err = downloadSite(ctx, w)
	}
	if err != nil {
		return nil, err
	}
	return startAt(ctx, at, w)
}

// site is a place that a keeper keeps, for one server, and how the server
// there is reached.
type site struct {
	keeper *keeper
	source string

	listen   string // the server's listen_addresses
	host     string // where clients find it
	port     int    // the port clients use; 0: launch chooses one, the same inside and outside
	inside   int    // the port it listens on, where that differs
	peerHost string // where another server of the same source finds it, on the port it listens on
	password string // of the user postgres; empty: trust

	// unpack puts a tar archive into the empty data directory.
	unpack func(ctx context.Context, archive tarParts) error

	// another makes a further site of the same kind, for a standby.
	another func(ctx context.Context) (*site, error)
}

// startAt makes a new server at the site. On error the site is closed.
func startAt(ctx context.Context, at *site, w wish) (*Server, error) {
	s := &Server{source: at.source, at: at, settings: w.settings}
	if err := at.keeper.ask(ctx, "init"); err != nil {
		at.keeper.close()
		return nil, err
	}
	at.keeper.log.forget()
	if err := s.launch(ctx); err != nil {
		at.keeper.close()
		return nil, err
	}
	if err := w.accepts(s.major); err != nil {
		at.keeper.close()
		return nil, fmt.Errorf("the server %w", err)
	}
	return s, nil
}
