package guardgrpc

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/notify"
)

// Calls that are sent by something that does not wait for the answer, while the transaction is open.
func TestACallIsAnsweredByWhatBecomesOfItsTransaction(t *testing.T) {
	t.Parallel()
	pool, barriers := startListener(t)
	if _, err := pool.Exec(t.Context(), "CREATE TABLE orders (name text)"); err != nil {
		t.Fatal(err)
	}
	s := start(t, barriers, guard.Config{Budget: time.Hour})
	s.handles(func(ctx context.Context, order string) (string, error) {
		var rows int
		err := pool.QueryRow(ctx, "SELECT count(*) FROM orders").Scan(&rows)
		if rows == 0 {
			t.Errorf("it is handled, and the transaction's row cannot be read, %v", err)
		}
		return order, err
	})
	fates := map[string]struct {
		end  func(outer, inner pgx.Tx) error
		want error
	}{
		"COMMIT": {func(outer, inner pgx.Tx) error {
			return errors.Join(inner.Commit(t.Context()), outer.Commit(t.Context()))
		}, nil},
		"ROLLBACK": {func(outer, inner pgx.Tx) error { return outer.Rollback(t.Context()) }, pgbarrier.ErrAborted},
		"ROLLBACK TO SAVEPOINT": {func(outer, inner pgx.Tx) error {
			return errors.Join(inner.Rollback(t.Context()), outer.Commit(t.Context()))
		}, pgbarrier.ErrAborted},
		"a killed producer": {func(outer, inner pgx.Tx) error {
			_, err := pool.Exec(t.Context(), "SELECT pg_terminate_backend($1)", outer.Conn().PgConn().PID())
			return err
		}, pgbarrier.ErrAborted},
	}
	for fate, test := range fates {
		t.Run(fate, func(t *testing.T) {
			for name, call := range s.methods() {
				if _, err := pool.Exec(t.Context(), "TRUNCATE orders"); err != nil {
					t.Fatal(err)
				}
				outer, err := pool.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				inner, err := outer.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := inner.Exec(t.Context(), "INSERT INTO orders VALUES ('order 7')"); err != nil {
					t.Fatal(err)
				}
				token, err := notify.Create(t.Context(), inner)
				if err != nil {
					t.Fatal(err)
				}
				asked, answered := s.asked.Load(), make(chan error, 1)
				go func() {
					answered <- Do(t.Context(), func(ctx context.Context) error {
						_, err := call(ctx)
						return err
					}, token)
				}()
				for s.asked.Load() == asked {
					time.Sleep(time.Millisecond)
				}
				if err := test.end(outer, inner); err != nil {
					t.Fatal(err)
				}
				if err := <-answered; !errors.Is(err, test.want) {
					t.Errorf("%s: Do returns %v", name, err)
				}
				_ = outer.Rollback(t.Context())
			}
		})
	}
}

func TestACallWithAnotherDatabasesBarrierIsNotHandled(t *testing.T) {
	t.Parallel()
	_, barriers := startListener(t)
	s := start(t, barriers, guard.Config{})
	if _, err := s.do(t.Context(), guardtest.NewToken()); !errors.Is(err, pgbarrier.ErrWrongDatabase) || status.Code(err) != codes.InvalidArgument {
		t.Errorf("Do returns %v", err)
	}
	if s.called.Load() > 0 {
		t.Error("it was handled")
	}
}
