package guard

import (
	"context"
	"errors"
	"sync"

	"github.com/pgbarrier/pgbarrier"
)

// Mux returns a Waiter for messages of several databases, from a Waiter for each. A token names its database;
// which waiter that is, Mux finds out by asking all of them when the first such token comes, and remembers.
// A database that does not answer holds up nothing of the others, once they have answered for a token
// of theirs. A token that none of them knows is pgbarrier.ErrWrongDatabase.
//
// A message may carry tokens of several databases: it runs when all of them were found committed.
//
// The result is a [FuncWaiter] if all of the waiters are. Only a wait for tokens of a database that has not
// been found yet takes a goroutine then.
func Mux(waiters ...Waiter) Waiter {
	m := &mux{home: make(map[uint32]int)}
	funcs := true
	for _, w := range waiters {
		_, ok := w.(FuncWaiter)
		funcs = funcs && ok
		m.waiters = append(m.waiters, w)
	}
	if funcs {
		return funcMux{m}
	}
	return m
}

var (
	errNoWaiters = errors.New("pgbarrier: guard.Mux: it has no waiters")
	errTwoHomes  = errors.New("pgbarrier: guard.Mux: two waiters know the same token, give Mux one for each database")
)

type mux struct {
	waiters []Waiter

	mu   sync.Mutex
	home map[uint32]int // which waiter, by origin; of those that have answered for a token
}

// A share is what one waiter is asked about.
type share struct {
	waiter Waiter
	tokens []pgbarrier.Token
	at     []int // their places in what Mux was asked
}

// split returns the share of each waiter, and of all tokens whose database is not known.
func (m *mux) split(tokens []pgbarrier.Token) (known []*share, unknown *share) {
	of := make(map[int]*share)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, t := range tokens {
		home, found := m.home[t.Origin]
		if !found {
			home = -1
		}
		s := of[home]
		if s == nil {
			s = &share{}
			if of[home] = s; found {
				s.waiter = m.waiters[home]
				known = append(known, s)
			}
		}
		s.tokens = append(s.tokens, t)
		s.at = append(s.at, i)
	}
	return known, of[-1]
}

// Check asks each database about its tokens, at the same time, and all about those of an unknown one.
func (m *mux) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	known, unknown := m.split(tokens)
	statuses := make([]pgbarrier.Status, len(tokens)) // Pending
	errs := make([]error, len(known)+1)
	var asking sync.WaitGroup
	for i, s := range known {
		asking.Go(func() {
			answer, err := s.waiter.Check(ctx, s.tokens...)
			for n, status := range answer {
				statuses[s.at[n]] = status
			}
			errs[i] = err
		})
	}
	if unknown != nil {
		answer, err := m.find(ctx, unknown.tokens)
		for n, status := range answer {
			statuses[unknown.at[n]] = status
		}
		errs[len(known)] = err
	}
	asking.Wait()
	return statuses, errors.Join(errs...)
}

// find asks every database about tokens and remembers whose they are. A status is Pending, with an error, where
// only those have answered that do not know the token.
func (m *mux) find(ctx context.Context, tokens []pgbarrier.Token) ([]pgbarrier.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout) // one that hangs must not hide what another knows
	defer cancel()
	answers := make([][]pgbarrier.Status, len(m.waiters))
	errs := make([]error, len(m.waiters))
	var asking sync.WaitGroup
	for i, w := range m.waiters {
		asking.Go(func() { answers[i], errs[i] = w.Check(ctx, tokens...) })
	}
	asking.Wait()
	failed := errors.Join(errs...)
	if len(m.waiters) == 0 {
		failed = errNoWaiters
	}
	statuses := make([]pgbarrier.Status, len(tokens))
	var unknown error
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, t := range tokens {
		home, invalid := -1, false
		for i, answer := range answers {
			switch {
			case len(answer) != len(tokens) || answer[n] == pgbarrier.WrongDatabase:
			case errs[i] != nil && answer[n] == pgbarrier.Pending: // it does not know
			case answer[n] == pgbarrier.Invalid: // perhaps by its form, which tells no database
				invalid = true
			case home >= 0:
				unknown = errTwoHomes
				home = len(answers)
			default:
				home = i
			}
		}
		switch {
		case home == len(answers): // Pending
		case home >= 0:
			statuses[n] = answers[home][n]
			m.home[t.Origin] = home
		case invalid:
			statuses[n] = pgbarrier.Invalid
		case failed == nil:
			statuses[n] = pgbarrier.WrongDatabase
		default:
			unknown = failed
		}
	}
	return statuses, unknown
}
