package relay

import (
	"context"
	"slices"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// The origins are looked at again after lookSoon while one is unknown, and after lookLater to notice
// pgbarrier.RenewOrigin, and a database that has stopped answering.
const (
	lookSoon  = 20 * time.Millisecond
	lookLater = time.Second
)

// watch looks at the databases until ctx ends or all of them have failed.
func (r *Relay) watch(ctx context.Context, all <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(r.look())
		case <-all:
			return
		case <-ctx.Done():
			return
		}
	}
}

// look notes what the databases say of themselves, and returns when to look again.
func (r *Relay) look() time.Duration {
	pause := lookLater
	for i, d := range r.config.Databases {
		origin, known := d.Origin()
		answers := d.Stats().LastErr == nil
		if !known {
			pause = lookSoon
		}
		r.note(i, func(h *home) {
			h.origin, h.known = origin, known
			switch {
			case answers:
				h.troubled = time.Time{}
			case h.troubled.IsZero():
				h.troubled = time.Now()
			}
		})
	}
	return pause
}

func (r *Relay) fail(i int, err error) { r.note(i, func(h *home) { h.failed, h.known = err, false }) }

// note changes what is known of a database, and tells of a change of its origin.
func (r *Relay) note(i int, f func(*home)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &r.homes[i]
	if h.failed != nil {
		return
	}
	before := *h
	f(h)
	if h.origin != before.origin || h.known != before.known {
		r.config.Logger.Info("pgbarrier: relay: a database's origin", "database", i, "origin", h.origin, "known", h.known)
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// Origins returns those of the databases that are served, and a channel that is closed when there are others.
func (r *Relay) Origins() (origins []uint32, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.homes {
		if h.known && !slices.Contains(origins, h.origin) {
			origins = append(origins, h.origin)
		}
	}
	return origins, r.changed
}

// database returns the one whose tokens have that origin, or nil.
func (r *Relay) database(origin uint32) Database {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, h := range r.homes {
		if h.known && h.origin == origin {
			return r.config.Databases[i]
		}
	}
	return nil
}

// Check asks the database of the tokens about them, in one statement, as [listener.Listener.Check] does. All must be of
// one database, otherwise, and if it is not served here, the error is [ErrUnknownDatabase].
func (r *Relay) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	if len(tokens) == 0 {
		return nil, nil
	}
	d, err := r.of(tokens)
	if err != nil {
		return nil, err
	}
	return d.Check(ctx, tokens...)
}

// of returns the database of tokens that are valid and all of one database.
func (r *Relay) of(tokens []pgbarrier.Token) (Database, error) {
	if len(tokens) == 0 {
		return nil, errNoTokens
	}
	for _, t := range tokens {
		if err := t.Valid(); err != nil {
			return nil, err
		}
		if t.Origin != tokens[0].Origin {
			return nil, ErrUnknownDatabase
		}
	}
	if d := r.database(tokens[0].Origin); d != nil {
		return d, nil
	}
	return nil, ErrUnknownDatabase
}
