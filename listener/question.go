package listener

import (
	"context"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// Check returns what a check that begins after the call finds of the tokens, in their order. It asks
// together with all others that wait, in one statement if it can, and waits for no outcome: what is not
// decided yet is Pending.
//
// While the database cannot be reached, and before Run, Check waits. If ctx ends first it returns
// ctx.Err(), and if Run returns, pgbarrier.ErrClosed.
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
	tokens []pgbarrier.Token

	done     chan struct{} // the rest may be read when it is closed
	statuses []pgbarrier.Status
	err      error
}

func (s *waitSet) ask(tokens []pgbarrier.Token) *question {
	q := &question{tokens: tokens, done: make(chan struct{})}
	q.element = q
	s.mu.Lock()
	defer s.mu.Unlock()
	s.questions.push(&q.node)
	if s.closed != nil {
		q.answer(nil, s.closed)
	}
	signal(s.wake)
	return q
}

// answer gives questions the outcomes that one check has found of all their tokens.
func (s *waitSet) answer(questions []*question, outcomes []wire.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range questions {
		statuses := make([]pgbarrier.Status, len(q.tokens))
		for i := range statuses {
			statuses[i] = pgbarrier.Status(outcomes[i])
		}
		outcomes = outcomes[len(q.tokens):]
		q.answer(statuses, nil)
	}
}

// answer answers a question that is still asked. The caller holds waitSet.mu.
func (q *question) answer(statuses []pgbarrier.Status, err error) {
	if q.in != nil {
		q.leave()
		q.statuses, q.err = statuses, err
		close(q.done)
	}
}
