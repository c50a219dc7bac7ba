package guardgrpc

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

const aTest = 2 * time.Minute // for what comes sooner or later

// details returns what a status has.
func details(err error) (info *errdetails.ErrorInfo, retry *errdetails.RetryInfo) {
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			info = detail
		case *errdetails.RetryInfo:
			retry = detail
		}
	}
	return info, retry
}

func TestEachVerdictHasItsCodeAndItsError(t *testing.T) {
	t.Parallel()
	w := new(guardtest.Waiter)
	s := start(t, w, guard.Config{Budget: time.Millisecond, Expired: guard.Reject})
	for name, call := range s.methods() {
		for _, test := range []struct {
			status pgbarrier.Status
			code   codes.Code
			err    error
		}{
			{pgbarrier.Committed, codes.OK, nil},
			{pgbarrier.Aborted, codes.FailedPrecondition, pgbarrier.ErrAborted},
			{pgbarrier.Expired, codes.InvalidArgument, pgbarrier.ErrExpired},
			{pgbarrier.WrongDatabase, codes.InvalidArgument, pgbarrier.ErrWrongDatabase},
			{pgbarrier.Invalid, codes.InvalidArgument, pgbarrier.ErrInvalidToken},
			{pgbarrier.Pending, codes.Unavailable, guard.ErrPending},
		} {
			token := guardtest.NewToken()
			w.Set(test.status, token)
			ctx, err := Add(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			before := s.called.Load()
			answer, err := call(ctx)
			handled := s.called.Load() > before
			if status.Code(err) != test.code || handled != (test.err == nil) || (answer == "order 7 is paid") != handled {
				t.Errorf("%s, %v: the answer is %q, %v, handled: %v", name, test.status, answer, err, handled)
			}
			info, retry := details(err)
			if (info.GetDomain() == Domain) == handled || (retry.GetRetryDelay().AsDuration() == time.Second) != (test.status == pgbarrier.Pending) {
				t.Errorf("%s, %v: the details are %v and %v", name, test.status, info, retry)
			}
			if test.status == pgbarrier.Pending {
				continue
			}
			err = Do(t.Context(), func(ctx context.Context) error {
				_, err := call(ctx)
				return err
			}, token)
			if !errors.Is(err, test.err) || status.Code(err) != test.code {
				t.Errorf("%s, %v: Do returns %v", name, test.status, err)
			}
		}
	}
}

func TestACallWithoutABarrierIsHandledUnlessOneIsRequired(t *testing.T) {
	t.Parallel()
	w := new(guardtest.Waiter)
	for _, required := range []bool{false, true} {
		s := start(t, w, guard.Config{Require: required})
		for name, call := range s.methods() {
			err := Do(t.Context(), func(ctx context.Context) error {
				_, err := call(ctx)
				return err
			})
			if required && (!errors.Is(err, guard.ErrMissing) || status.Code(err) != codes.InvalidArgument) || !required && err != nil {
				t.Errorf("%s, required: %v: %v", name, required, err)
			}
		}
		if called := s.called.Load(); called != 0 && required || called != 2 && !required {
			t.Errorf("required: %v: %d calls were handled", required, called)
		}
	}
}

// Metadata may have a key several times, and a value several tokens. Whoever looks at the first alone handles what has
// rolled back.
func TestAllTokensOfACallCount(t *testing.T) {
	t.Parallel()
	w := new(guardtest.Waiter)
	s := start(t, w, guard.Config{Budget: time.Millisecond})
	committed, also, aborted := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
	w.Commit(committed, also)
	w.Abort(aborted)
	for _, test := range []struct {
		values []string
		code   codes.Code
	}{
		{[]string{committed.String(), also.String()}, codes.OK},
		{[]string{committed.String() + ", " + also.String()}, codes.OK},
		{[]string{committed.String(), aborted.String()}, codes.FailedPrecondition},
		{[]string{committed.String() + "," + also.String(), aborted.String()}, codes.FailedPrecondition},
		{[]string{committed.String(), guardtest.NewToken().String()}, codes.Unavailable},
		{[]string{committed.String(), ""}, codes.InvalidArgument},
		{[]string{committed.String(), "garbled"}, codes.InvalidArgument},
		{[]string{""}, codes.InvalidArgument},
	} {
		var pairs []string
		for _, value := range test.values {
			pairs = append(pairs, "Pgbarrier", value)
		}
		_, err := s.Get(metadata.AppendToOutgoingContext(t.Context(), pairs...), "order 7")
		if status.Code(err) != test.code {
			t.Errorf("%q: %v, want %v", test.values, err, test.code)
		}
	}
}

// Half of its time is the handler's, or the answer's: a caller that runs out of time learns nothing.
func TestTheWaitLeavesHalfOfTheCallsTime(t *testing.T) {
	inFakeTime(t, guard.Config{Budget: time.Hour}, func(t *testing.T, _ *guardtest.Waiter, s *service) {
		for name, call := range s.methods() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			ctx, err := Add(ctx, guardtest.NewToken())
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = call(ctx)
			cancel()
			_, retry := details(err)
			if took := time.Since(began); status.Code(err) != codes.Unavailable || retry == nil || took < 4*time.Second || took > 6*time.Second {
				t.Errorf("%s: after %v the caller hears %v", name, took, err)
			}
		}
	})
}

func TestACallWaitsNoLongerThanItsClient(t *testing.T) {
	t.Parallel()
	w := new(guardtest.Waiter)
	s := start(t, w, guard.Config{Budget: time.Hour})
	for name, call := range s.methods() {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			gone <- Do(ctx, func(ctx context.Context) error {
				_, err := call(ctx)
				return err
			}, guardtest.NewToken())
		}()
		waits(t, w, 1)
		cancel()
		if err := <-gone; status.Code(err) != codes.Canceled {
			t.Errorf("%s: %v", name, err)
		}
		waits(t, w, 0)
	}
	if n := s.called.Load(); n > 0 {
		t.Errorf("%d calls were handled", n)
	}
}

// waits waits until so many calls wait.
func waits(t *testing.T, w *guardtest.Waiter, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), aTest)
	defer cancel()
	if err := w.UntilWaiting(ctx, n); err != nil {
		t.Fatalf("%d calls wait, want %d", w.Waiting(), n)
	}
}

func TestAServerThatStopsAnswersWhatWaits(t *testing.T) {
	t.Parallel()
	w := new(guardtest.Waiter)
	s := start(t, w, guard.Config{Budget: time.Hour})
	answers := make(chan error, 2)
	for _, call := range s.methods() {
		go func() {
			ctx, err := Add(t.Context(), guardtest.NewToken())
			if err == nil {
				_, err = call(ctx)
			}
			answers <- err
		}()
	}
	waits(t, w, 2)
	s.stop()
	s.server.GracefulStop() // would wait for an hour
	for range 2 {
		err := <-answers
		if _, retry := details(err); status.Code(err) != codes.Unavailable || retry.GetRetryDelay().AsDuration() != leastPause {
			t.Errorf("the answer is %v", err)
		}
	}
}

// A transaction that hangs for longer than GiveUp is not one to be tried again.
func TestACallThatIsGivenUpIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	s := start(t, new(guardtest.Waiter), guard.Config{GiveUp: time.Minute})
	err := Do(t.Context(), func(ctx context.Context) error {
		_, err := s.Get(ctx, "order 7")
		return err
	}, guardtest.OldToken(time.Hour))
	if !errors.Is(err, guard.ErrPending) || status.Code(err) != codes.FailedPrecondition || s.asked.Load() != 1 {
		t.Errorf("after %d calls: %v", s.asked.Load(), err)
	}
}

// A handler that hands on what another guarded service has answered was called itself: who takes that for its own refusal
// calls it again, or believes that the transaction rolled back.
func TestAHandlersErrorIsNotTakenForARefusal(t *testing.T) {
	t.Parallel()
	inner := guardtest.NewToken()
	behind := new(guardtest.Waiter)
	second := start(t, behind, guard.Config{Budget: time.Millisecond})
	ask := func(ctx context.Context) error {
		ctx, err := Add(ctx, inner)
		if err == nil {
			_, err = second.Get(ctx, "order 7")
		}
		return err
	}
	errOwn := status.Error(codes.FailedPrecondition, "out of stock")
	for _, test := range []struct {
		status pgbarrier.Status
		handle func(ctx context.Context) error
		code   codes.Code
	}{
		{pgbarrier.Pending, ask, codes.Unavailable},
		{pgbarrier.Aborted, ask, codes.FailedPrecondition},
		{pgbarrier.Aborted, func(ctx context.Context) error { return Do(ctx, ask) }, codes.FailedPrecondition}, // wrapped
		{pgbarrier.Aborted, func(context.Context) error { return errOwn }, codes.FailedPrecondition},
	} {
		behind.Set(test.status, inner)
		w := new(guardtest.Waiter)
		s := start(t, w, guard.Config{})
		s.handles(func(ctx context.Context, _ string) (string, error) { return "", test.handle(ctx) })
		token := guardtest.NewToken()
		w.Commit(token)
		for name, call := range s.methods() {
			before := s.called.Load()
			err := Do(t.Context(), func(ctx context.Context) error {
				_, err := call(ctx)
				return err
			}, token)
			if called := s.called.Load() - before; errors.Is(err, pgbarrier.ErrAborted) || errors.Is(err, guard.ErrPending) || status.Code(err) != test.code || called != 1 {
				t.Errorf("%s: after %d calls of the handler Do returns %v", name, called, err)
			}
		}
	}
}

// UNAVAILABLE is what clients' retry policies are about.
func TestGRPCsOwnRetriesKeepToThePause(t *testing.T) {
	t.Parallel()
	const retries = `{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.001s",
		"maxBackoff": "0.001s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`
	const pause = 300 * time.Millisecond
	s := start(t, new(guardtest.Waiter), guard.Config{
		Budget: time.Millisecond, Delay: func(time.Duration) time.Duration { return pause },
	}, grpc.WithDefaultServiceConfig(retries))
	ctx, err := Add(t.Context(), guardtest.NewToken())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = s.Get(ctx, "order 7")
	if took := time.Since(began); status.Code(err) != codes.Unavailable || s.asked.Load() != 3 || took < 2*pause {
		t.Errorf("after %d calls in %v: %v", s.asked.Load(), took, err)
	}
}

// What is sent with the call's context, and by no other way.
func TestNothingIsAddedByItself(t *testing.T) {
	t.Parallel()
	s := start(t, new(guardtest.Waiter), guard.Config{})
	var seen []string
	s.handles(func(ctx context.Context, _ string) (string, error) {
		seen = metadata.ValueFromIncomingContext(ctx, guard.Header)
		return "", nil
	})
	ctx, token := transaction(t)
	if err := Do(ctx, func(ctx context.Context) error {
		_, err := s.Get(ctx, "order 7")
		return err
	}); err != nil || len(seen) > 0 {
		t.Errorf("a call inside the transaction carries %q, %v", seen, err)
	}
	before := guardtest.NewToken()
	ctx = metadata.AppendToOutgoingContext(ctx, "trace", "1", "pgbarrier", before.String())
	added, err := Add(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	outgoing, _ := metadata.FromOutgoingContext(added)
	guardtest.Carries(t, carrier(outgoing), before, token)
	original, _ := metadata.FromOutgoingContext(ctx)
	guardtest.Carries(t, carrier(original), before)
	if !slices.Equal(outgoing.Get("trace"), []string{"1"}) {
		t.Errorf("the metadata became %v", outgoing)
	}
	if _, err := Add(ctx, pgbarrier.Token{}); !errors.Is(err, pgbarrier.ErrInvalidToken) {
		t.Errorf("the zero token: %v", err)
	}
}
