package datalayers

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// suite is one layer on a database of its own.
type suite struct {
	*testing.T
	layer
	pool *pgxpool.Pool // beside the layer, to see what has become of it
}

func TestProducersInEveryDataLayer(t *testing.T) {
	for name, open := range layers {
		t.Run(name, func(t *testing.T) {
			for promise, test := range map[string]func(*suite){
				"a barrier shares its transaction's fate":        fate,
				"every line makes a barrier in the transaction":  lines,
				"a savepoint has a barrier of its own":           savepoints,
				"a rolled-back savepoint leaves no dead barrier": noDeadBarrier,
				"after the end there is no barrier":              afterTheEnd,
			} {
				t.Run(promise, func(t *testing.T) {
					s := newSuite(t, open)
					s.ok(pgbarrier.Migrate(t.Context(), s.pool))
					test(s)
				})
			}
			t.Run("a missing schema is an error", func(t *testing.T) { missing(newSuite(t, open)) })
		})
	}
}

func newSuite(t *testing.T, open func(*testing.T, string) layer) *suite {
	t.Parallel()
	url := server.DatabaseForTest(t)
	pool := openPool(t, url)
	if _, err := pool.Exec(t.Context(), "CREATE TABLE orders (id integer PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	return &suite{t, open(t, url), pool}
}

var errUndo = errors.New("undo")

// end is what makes a transaction commit, or roll back.
func end(commits bool) error {
	if commits {
		return nil
	}
	return errUndo
}

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// transact runs fn in a transaction that ends as it says.
func (s *suite) transact(commits bool, fn func(transaction)) {
	s.Helper()
	err := s.run(s.Context(), func(tx transaction) error { fn(tx); return end(commits) })
	if !errors.Is(err, end(commits)) {
		s.Fatalf("the transaction ended with %v, want %v", err, end(commits))
	}
}

func (s *suite) savepoint(tx transaction, commits bool, fn func(transaction)) {
	s.Helper()
	err := tx.nest(func(tx transaction) error { fn(tx); return end(commits) })
	if !errors.Is(err, end(commits)) {
		s.Fatalf("the savepoint ended with %v, want %v", err, end(commits))
	}
}

func (s *suite) current(ctx context.Context) pgbarrier.Token {
	s.Helper()
	token, ok, err := notify.Current(ctx)
	if !ok || err != nil {
		s.Fatalf("the context's barrier: %v, %v", ok, err)
	}
	return token
}

// want compares what has become of barriers, and of the rows that were inserted beside them.
func (s *suite) want(committed bool, order int, tokens ...pgbarrier.Token) {
	s.Helper()
	status := pgbarrier.Aborted
	if committed {
		status = pgbarrier.Committed
	}
	got, err := pgbarrier.Check(s.Context(), s.pool, tokens...)
	s.ok(err)
	if want := slices.Repeat([]pgbarrier.Status{status}, len(tokens)); !slices.Equal(got, want) {
		s.Errorf("order %d: statuses are %v, want %v", order, got, want)
	}
	var there bool
	s.ok(s.pool.QueryRow(s.Context(), "SELECT EXISTS (SELECT FROM orders WHERE id = $1)", order).Scan(&there))
	if there != committed {
		s.Errorf("order %d is there: %v", order, there)
	}
}

func fate(s *suite) {
	for id, commits := range []bool{true, false} {
		var token pgbarrier.Token
		s.transact(commits, func(tx transaction) {
			s.ok(tx.insert(id))
			token = s.current(tx.ctx)
			if again := s.current(tx.ctx); again != token {
				s.Errorf("a second call returned %v, after %v", again, token)
			}
			header := http.Header{}
			s.ok(notify.Inject(tx.ctx, header))
			if header.Get(notify.Header) != token.String() {
				s.Errorf("the message carries %v, want %v", header, token)
			}
			if got, err := pgbarrier.Check(s.Context(), s.pool, token); err != nil || got[0] != pgbarrier.Pending {
				s.Errorf("before the end it is %v, %v", got, err)
			}
		})
		s.want(commits, id, token)
	}
}

func lines(s *suite) {
	for id, commits := range []bool{true, false} {
		var tokens []pgbarrier.Token
		s.transact(commits, func(tx transaction) {
			s.ok(tx.insert(id))
			for line, create := range tx.create {
				token, err := create()
				if err != nil {
					s.Fatalf("%s: %v", line, err)
				}
				tokens = append(tokens, token)
			}
			if got, err := pgbarrier.Check(s.Context(), s.pool, tokens...); err != nil || slices.ContainsFunc(got, func(s pgbarrier.Status) bool { return s != pgbarrier.Pending }) {
				s.Errorf("before the end they are %v, %v", got, err)
			}
		})
		s.want(commits, id, tokens...)
	}
}

func savepoints(s *suite) {
	id := 0
	for _, outerCommits := range []bool{true, false} {
		for _, innerCommits := range []bool{true, false} {
			for _, innermostCommits := range []bool{true, false} {
				var outer, inner, innermost pgbarrier.Token
				var line []pgbarrier.Token
				s.transact(outerCommits, func(tx transaction) {
					s.ok(tx.insert(id))
					outer = s.current(tx.ctx)
					s.savepoint(tx, innerCommits, func(tx transaction) {
						s.ok(tx.insert(id + 1))
						inner = s.current(tx.ctx)
						for _, create := range tx.create {
							token, err := create()
							s.ok(err)
							line = append(line, token)
						}
						s.savepoint(tx, innermostCommits, func(tx transaction) {
							s.ok(tx.insert(id + 2))
							innermost = s.current(tx.ctx)
						})
						if again := s.current(tx.ctx); again != inner {
							s.Errorf("after a savepoint the barrier is %v, not %v", again, inner)
						}
					})
					if again := s.current(tx.ctx); again != outer {
						s.Errorf("after a savepoint the barrier is %v, not %v", again, outer)
					}
				})
				s.want(outerCommits, id, outer)
				s.want(outerCommits && innerCommits, id+1, append(line, inner)...)
				s.want(outerCommits && innerCommits && innermostCommits, id+2, innermost)
				id += 3
			}
		}
	}
}

// The outer context's first message comes while a savepoint is open, or after it.
func noDeadBarrier(s *suite) {
	for id, during := range []bool{true, false} {
		var lost, after []pgbarrier.Token
		s.transact(true, func(tx transaction) {
			s.ok(tx.insert(10 + id))
			s.savepoint(tx, false, func(inner transaction) {
				s.ok(inner.insert(20 + id))
				lost = append(lost, s.current(inner.ctx))
				if during {
					lost = append(lost, s.current(tx.ctx))
				}
			})
			after = append(after, s.current(tx.ctx), s.current(tx.ctx))
			if s.tellsSavepoints && after[0] != after[1] {
				s.Error("after the savepoint the barrier is not kept")
			}
		})
		s.want(true, 10+id, after...)
		s.want(false, 20+id, lost...)
	}
}

func afterTheEnd(s *suite) {
	id := 0
	for _, commits := range []bool{true, false} {
		for _, made := range []bool{true, false} {
			var left transaction
			s.transact(commits, func(tx transaction) {
				id++
				s.ok(tx.insert(id))
				if left = tx; made {
					s.current(tx.ctx)
				}
			})
			header := http.Header{}
			if err := notify.Inject(left.ctx, header); (err == nil || len(header) > 0) && !(made && s.tellsNothing) {
				s.Errorf("injected %v, %v, with a barrier made before the end: %v", header, err, made)
			}
			for line, create := range left.create {
				if token, err := create(); err == nil {
					s.Errorf("%s: made %v", line, token)
				}
			}
		}
	}
}

// missing is without the schema. The transaction has failed then, as after any other statement.
func missing(s *suite) {
	var lines []string
	s.transact(false, func(tx transaction) {
		lines = slices.Collect(maps.Keys(tx.create))
		token, _, err := notify.Current(tx.ctx)
		if !errors.Is(err, pgbarrier.ErrNotMigrated) || !token.IsZero() {
			s.Errorf("the context's barrier: %v, %v", token, err)
		}
		if err := tx.insert(1); err == nil {
			s.Error("the transaction has not failed")
		}
	})
	for _, line := range lines {
		s.transact(false, func(tx transaction) {
			if token, err := tx.create[line](); err == nil || !token.IsZero() {
				s.Errorf("%s: %v, %v", line, token, err)
			}
		})
	}
}
