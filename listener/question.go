package listener

import (
	"context"
	"slices"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// Check returns what a check that begins after the call finds of the tokens, in their order, in one statement with
// all else that is asked for. It waits for no outcome: what is not decided yet is Pending.
//
// While the database cannot be reached, and before Run, Check waits. If ctx ends first it returns ctx.Err(), and
// if Run returns, pgbarrier.ErrClosed.
func (l *Listener) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	if err := validate("check", tokens); err != nil && len(tokens) > 0 {
		return nil, err
	}
	q := l.waits.ask(tokens)
	select {
	case <-q.done:
		return q.statuses, q.err
	case <-ctx.Done():
		l.waits.mu.Lock()
		defer l.waits.mu.Unlock()
		q.leave()
		return nil, ctx.Err()
	}
}

// Origin returns the origin of the listener's database, which its tokens have, and whether it is known:
// once the listener is ready it is.
func (l *Listener) Origin() (origin uint32, known bool) {
	l.waits.mu.Lock()
	defer l.waits.mu.Unlock()
	return l.waits.origin, l.waits.statements > 0
}

// A question is a call of Check. The next check that succeeds answers it.
type question struct {
	node[*question]
	tokens   []pgbarrier.Token
	done     chan struct{} // the rest may be read when it is closed
	statuses []pgbarrier.Status
	err      error
}

func (s *waitSet) ask(tokens []pgbarrier.Token) *question {
	q := &question{tokens: tokens, done: make(chan struct{})}
	q.element = q
	s.mu.Lock()
	s.questions.push(&q.node)
	closed := s.closed
	s.mu.Unlock()
	if closed != nil {
		s.answer(nil, nil, closed)
	}
	signal(s.wake)
	return q
}

// answer answers questions with the outcomes that one check has found of all their tokens, or all with err.
func (s *waitSet) answer(questions []*question, outcomes []wire.Outcome, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		questions = slices.Collect(s.questions.all)
	}
	for _, q := range questions {
		if err == nil {
			for _, o := range outcomes[:len(q.tokens)] {
				q.statuses = append(q.statuses, pgbarrier.Status(o))
			}
			outcomes = outcomes[len(q.tokens):]
		}
		if q.in != nil {
			q.leave()
			q.err = err
			close(q.done)
		}
	}
}
