package guardgrpc

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/notify"
)

// transaction returns a context of one, and its barrier.
func transaction(t *testing.T) (context.Context, pgbarrier.Token) {
	token := guardtest.NewToken()
	return notify.WithCreate(t.Context(), func(context.Context) (pgbarrier.Token, error) { return token, nil }), token
}

// inFakeTime runs f with a service that is reached through memory, so that fake time passes for both sides.
func inFakeTime(t *testing.T, config guard.Config, f func(t *testing.T, w *guardtest.Waiter, s *service)) {
	synctest.Test(t, func(t *testing.T) {
		w := new(guardtest.Waiter)
		lis := bufconn.Listen(1 << 16)
		f(t, w, startOn(t, w, config, lis, "passthrough:bufconn", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return lis.DialContext(ctx)
		})))
	})
}

func (s *service) do(ctx context.Context, tokens ...pgbarrier.Token) (answer string, err error) {
	err = Do(ctx, func(ctx context.Context) (err error) {
		answer, err = s.Get(ctx, "order 7")
		return err
	}, tokens...)
	return answer, err
}

func TestDoMakesACallAgainThatIsPending(t *testing.T) {
	inFakeTime(t, guard.Config{}, func(t *testing.T, w *guardtest.Waiter, s *service) {
		token := guardtest.NewToken()
		time.AfterFunc(10*time.Second, func() { w.Commit(token) })
		began := time.Now()
		answer, err := s.do(t.Context(), token)
		if took := time.Since(began); err != nil || answer != "order 7 is paid" || took < 10*time.Second || took > 14*time.Second || s.called.Load() != 1 {
			t.Errorf("%q, %v after %v, handled %d times", answer, err, took, s.called.Load())
		}
	})
}

// Called inside the transaction.
func TestACallThatWaitsForItselfEnds(t *testing.T) {
	inFakeTime(t, guard.Config{}, func(t *testing.T, w *guardtest.Waiter, s *service) {
		ctx, token := transaction(t)
		began := time.Now()
		_, err := s.do(ctx, token)
		if took := time.Since(began); !errors.Is(err, guard.ErrPending) || took > 35*time.Second || took < 20*time.Second {
			t.Errorf("%v after %v", err, took)
		}

		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		began = time.Now()
		_, err = s.do(short, guardtest.NewToken())
		if took := time.Since(began); !errors.Is(err, guard.ErrPending) || status.Code(err) != codes.Unavailable || took > 10*time.Second || took < 5*time.Second {
			t.Errorf("%v after %v", err, took)
		}

		cancelled, cancel := context.WithCancel(ctx)
		time.AfterFunc(2500*time.Millisecond, cancel)
		if _, err = s.do(cancelled, guardtest.NewToken()); !errors.Is(err, context.Canceled) || !errors.Is(err, guard.ErrPending) {
			t.Errorf("canceled between two tries: %v", err)
		}
		if s.called.Load() > 0 {
			t.Error("it was handled")
		}
	})
}

func TestAServerThatCannotBeReachedIsNotCalledAgain(t *testing.T) {
	t.Parallel()
	s := start(t, new(guardtest.Waiter), guard.Config{})
	s.server.Stop()
	calls := 0
	err := Do(t.Context(), func(ctx context.Context) error {
		calls++
		_, err := s.Get(ctx, "order 7")
		return err
	}, guardtest.NewToken())
	if status.Code(err) != codes.Unavailable || errors.Is(err, guard.ErrPending) || calls != 1 {
		t.Errorf("after %d calls: %v", calls, err)
	}
}
