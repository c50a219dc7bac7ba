package guardtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

var _ guard.FuncWaiter = new(guardtest.Waiter)

// complaints is a testing.TB that counts errors.
type complaints struct {
	testing.TB
	errors int
}

func (c *complaints) Errorf(string, ...any) { c.errors++ }
func (c *complaints) Helper()               {}

func TestAMessagesBarriersCanBeAsserted(t *testing.T) {
	a, b := guardtest.NewToken(), guardtest.NewToken()
	none, one, bad := http.Header{}, http.Header{}, guard.Map{guard.Header: "x"}
	if err := guard.Add(one, a); err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct {
		assert func(t testing.TB)
		wrong  bool
	}{
		{func(t testing.TB) { guardtest.Carries(t, one) }, false},
		{func(t testing.TB) { guardtest.Carries(t, one, a) }, false},
		{func(t testing.TB) { guardtest.Carries(t, one, b) }, true},
		{func(t testing.TB) { guardtest.Carries(t, one, a, b) }, true},
		{func(t testing.TB) { guardtest.Carries(t, none) }, true},
		{func(t testing.TB) { guardtest.Carries(t, bad) }, true},
		{func(t testing.TB) { guardtest.CarriesNone(t, none) }, false},
		{func(t testing.TB) { guardtest.CarriesNone(t, one) }, true},
		{func(t testing.TB) { guardtest.CarriesNone(t, bad) }, true},
	} {
		c := &complaints{TB: t}
		if test.assert(c); (c.errors > 0) != test.wrong {
			t.Errorf("assertion %d complained %d times", i, c.errors)
		}
	}
}

func TestTokensAreValidDifferentAndAsOldAsAsked(t *testing.T) {
	a, b, old := guardtest.NewToken(), guardtest.NewToken(), guardtest.OldToken(time.Hour)
	for _, token := range []pgbarrier.Token{a, b, old} {
		if parsed, err := pgbarrier.ParseToken(token.String()); err != nil || parsed != token {
			t.Errorf("%v, %v", parsed, err)
		}
	}
	if a == b || a.XID == b.XID {
		t.Error("two tokens are one")
	}
	if age := a.Created().Sub(old.Created()); age < 59*time.Minute || age > 61*time.Minute {
		t.Errorf("the old one is %v older", age)
	}
}

func TestTheDoubleDoesWhatTheTestSays(t *testing.T) {
	var w guardtest.Waiter
	token := guardtest.NewToken()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Wait(canceled, token); err != context.Canceled || w.Waiting() != 0 {
		t.Errorf("a pending wait ended with %v, %d are left", err, w.Waiting())
	}
	waited := make(chan error, 1)
	go func() { waited <- w.Wait(t.Context(), token) }()
	if err := w.UntilWaiting(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.Fail(errors.New("server down"))
	w.Commit(token)
	if _, err := w.Check(t.Context(), token); err == nil || w.Waiting() != 1 {
		t.Errorf("in an outage a check returned %v, and %d waits", err, w.Waiting())
	}
	w.Fail(nil)
	if err := <-waited; err != nil {
		t.Errorf("the wait ended with %v", err)
	}
	w.Abort(token)
	if err := w.Wait(t.Context(), token); !errors.Is(err, pgbarrier.ErrAborted) {
		t.Errorf("the wait ended with %v", err)
	}
	w.Origin = token.Origin + 1
	if statuses, err := w.Check(t.Context(), token); err != nil || statuses[0] != pgbarrier.WrongDatabase {
		t.Errorf("%v, %v", statuses, err)
	}
	w.Close()
	if err := w.Wait(t.Context(), token); !errors.Is(err, pgbarrier.ErrClosed) {
		t.Errorf("the wait ended with %v", err)
	}
	if err := w.UntilWaiting(canceled, 5); err != context.Canceled {
		t.Errorf("%v", err)
	}
}

func ExampleWaiter() {
	ctx := context.Background()
	var barriers guardtest.Waiter
	g, err := guard.New(&barriers, guard.Config{Budget: time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	token := guardtest.NewToken()
	message := guard.Map{}
	if err := guard.Add(message, token); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(g.Decide(ctx, message).Verdict)
	barriers.Commit(token)
	fmt.Println(g.Decide(ctx, message).Verdict)
	// Output:
	// later
	// run
}
