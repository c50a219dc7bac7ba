package notify

import (
	"context"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
)

// scope is a transaction, or a savepoint in one, as a context knows it: with one barrier, made when it is
// needed.
//
// A barrier is as good as the innermost savepoint in which its row was inserted. So what is made while a
// savepoint within may be open is not kept: rolled back to, it would leave the scope with a barrier that
// has aborted, and what is sent with it later would be dropped although its transaction commits.
type scope struct {
	create func(context.Context) (pgbarrier.Token, error)
	ask    func() error     // after the end pgx.ErrTxClosed or sql.ErrTxDone, without asking the server; or nil
	conn   func() *pgx.Conn // of a pgx transaction; or nil

	// Whoever has sent to turn owns these until they receive from it.
	turn   chan struct{}
	token  pgbarrier.Token
	closed bool

	mu     sync.Mutex
	inner  []*scope // savepoints within that were open when last asked
	unsure bool     // there was one that never tells whether it is open
}

func newScope(create func(context.Context) (pgbarrier.Token, error)) *scope {
	return &scope{create: create, turn: make(chan struct{}, 1)}
}

func (s *scope) current(ctx context.Context) (pgbarrier.Token, error) {
	if err := ctx.Err(); err != nil {
		return pgbarrier.Token{}, err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return pgbarrier.Token{}, ctx.Err()
	}

	if s.closed {
		return pgbarrier.Token{}, explain(pgx.ErrTxClosed)
	}
	if !s.token.IsZero() {
		if err := s.ended(); err != nil {
			return pgbarrier.Token{}, explain(err)
		}
		return s.token, nil
	}

	// A tracer or hook that injects into our own statement would wait for itself.
	token, err := s.create(without(ctx))
	if err != nil {
		return pgbarrier.Token{}, err
	}
	if !s.inSavepoint() {
		s.token = token
	}
	return token, nil
}

// close ends the scope before its transaction ends. It waits for whoever is making the barrier, because
// COMMIT needs the connection.
func (s *scope) close() {
	s.turn <- struct{}{}
	s.closed = true
	<-s.turn
}

// ended returns the error of a transaction that is known to have ended.
func (s *scope) ended() error {
	if s.ask == nil {
		return nil
	}
	if err := s.ask(); hasEnded(err) {
		return err
	}
	return nil
}

// opened remembers that inner was opened with a context of s.
func (s *scope) opened(inner *scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.conn == nil || inner.conn == nil || inner.ask == nil:
		s.unsure = true
	case s.conn() == inner.conn():
		s.inner = append(s.open(), inner)
	default: // another transaction, which may be in use by another goroutine
	}
}

// inSavepoint reports whether a savepoint within may be open.
func (s *scope) inSavepoint() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inner = s.open()
	return s.unsure || len(s.inner) > 0
}

func (s *scope) open() []*scope {
	return slices.DeleteFunc(s.inner, func(inner *scope) bool { return inner.ended() != nil })
}
