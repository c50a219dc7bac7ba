package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

func TestAQuestionIsAnsweredByACheckThatBeginsAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		l := &Listener{waits: start(t, m, pollOnly)}
		a, b, c := token(t, 7), token(t, 8), token(t, 9)
		if origin, known := l.Origin(); known {
			t.Errorf("origin %d", origin)
		}
		m.set(a, pgbarrier.Committed)
		m.set(b, pgbarrier.Aborted)
		begun := time.Now()
		statuses, err := l.Check(t.Context(), a, b, c, a)
		want := []pgbarrier.Status{pgbarrier.Committed, pgbarrier.Aborted, pgbarrier.Pending, pgbarrier.Committed}
		if err != nil || !slices.Equal(statuses, want) || time.Since(begun) > 0 {
			t.Errorf("after %v: %v, %v", time.Since(begun), statuses, err)
		}
		if origin, known := l.Origin(); !known || origin != 1 {
			t.Errorf("origin %d, known %v", origin, known)
		}
		if statuses, err := l.Check(t.Context()); err != nil || len(statuses) != 0 {
			t.Errorf("of no tokens: %v, %v", statuses, err)
		}
		if _, err := l.Check(t.Context(), a, pgbarrier.Token{}); !errors.Is(err, pgbarrier.ErrInvalidToken) {
			t.Errorf("of no token: %v", err)
		}
	})
}

func TestManyQuestionsAndWaitsShareOneStatement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, pollOnly)
		defer subscribe(waits, []pgbarrier.Token{token(t, 5)}).Close()
		synctest.Wait()
		before := m.statements()
		var questions []*question
		for range 20 {
			questions = append(questions, waits.ask([]pgbarrier.Token{token(t, 7)}))
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		for _, q := range questions {
			if q.in != nil {
				t.Fatal("not answered")
			}
		}
		if n := m.statements() - before; n != 1 {
			t.Errorf("%d statements", n)
		}
	})
}

func TestAQuestionWaitsForAnOutageToEndAndNotForItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		l := &Listener{waits: start(t, m, pollOnly)}
		m.setDown(errBroken)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := l.Check(ctx, token(t, 7)); err != context.DeadlineExceeded {
			t.Error(err)
		}
		time.AfterFunc(time.Hour, func() { m.setDown(nil) })
		if statuses, err := l.Check(t.Context(), token(t, 7)); err != nil || statuses[0] != pgbarrier.Pending {
			t.Errorf("%v, %v", statuses, err)
		}
		m.setDown(errBroken)
		time.AfterFunc(time.Hour, func() { l.waits.close(pgbarrier.ErrClosed, nil) })
		if _, err := l.Check(t.Context(), token(t, 7)); err != pgbarrier.ErrClosed {
			t.Error(err)
		}
		if _, err := l.Check(t.Context(), token(t, 7)); err != pgbarrier.ErrClosed {
			t.Errorf("after Run has returned: %v", err)
		}
		assertEmpty(t, l.waits)
	})
}

func TestAFunctionIsCalledOnceWhenItsWaitHasEnded(t *testing.T) {
	l, err := New(pool(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	var got []error
	f := func(err error) {
		l.Stats() // takes the lock
		got = append(got, err)
	}
	a, b := token(t, 7), token(t, 8)
	want := func(what string, want ...error) {
		t.Helper()
		if !slices.EqualFunc(got, want, errors.Is) {
			t.Errorf("%s: called with %v, want %v", what, got, want)
		}
		got = nil
	}

	sub := l.subscribe(f, []pgbarrier.Token{a})
	want("pending")
	if sub.Err() != ErrPending {
		t.Errorf("Err is %v", sub.Err())
	}
	hear(l.waits, a)
	want("announced", nil)
	sub.Close()
	want("closed afterwards")

	l.WaitFunc(f, a)()
	want("closed")
	l.WaitFunc(f, a, b)
	l.waits.toCheck(1, 0)
	l.waits.apply([]pgbarrier.Token{a, b}, found(pgbarrier.Committed, pgbarrier.Aborted))
	want("one of two aborted", pgbarrier.ErrAborted)
	l.WaitFunc(f)
	want("no tokens", pgbarrier.ErrInvalidToken)
	listening(l.waits, true)
	hear(l.waits, a)
	l.WaitFunc(f, a)
	want("remembered", nil)
	l.WaitFunc(f, b)
	l.waits.close(pgbarrier.ErrClosed, nil)
	want("Run has returned", pgbarrier.ErrClosed)
	l.WaitFunc(f, b)
	want("after that", pgbarrier.ErrClosed)
	assertEmpty(t, l.waits)
}

func TestAForgottenRunIsLoggedOnce(t *testing.T) {
	p := pool(t)
	synctest.Test(t, func(t *testing.T) {
		logged := make(chan struct{}, 10)
		l, err := New(p, Config{Logger: slog.New(signalHandler{logged})})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		for range 3 {
			defer l.Subscribe(token(t, 7)).Close()
		}
		time.Sleep(remindAfter - 1)
		if len(logged) != 0 {
			t.Error("too early")
		}
		time.Sleep(time.Hour)
		if len(logged) != 1 {
			t.Errorf("%d lines", len(logged))
		}
	})
}

func TestStatsStillTellWhyRunFailed(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go serve(conn, &pgproto3.ErrorResponse{Severity: "ERROR", Code: "42501", Message: "permission denied"})
		}
	}()
	p, err := pgxpool.New(t.Context(), fmt.Sprintf("postgres://nobody@%s/?sslmode=disable", server.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l, err := New(p, Config{})
	if err != nil {
		t.Fatal(err)
	}
	ran := l.Run(t.Context())
	if last := l.Stats().LastErr; ran == nil || last != ran {
		t.Errorf("Run returned %v, LastErr is %v", ran, last)
	}
}

func TestAWaitTakesLessThan500Bytes(t *testing.T) {
	for name, begin := range map[string]func(l *Listener, tok pgbarrier.Token) *Subscription{
		"Subscribe": func(l *Listener, tok pgbarrier.Token) *Subscription { return l.Subscribe(tok) },
		"WaitFunc": func(l *Listener, tok pgbarrier.Token) *Subscription {
			return l.subscribe(func(error) {}, []pgbarrier.Token{tok})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := New(pool(t), Config{})
			if err != nil {
				t.Fatal(err)
			}
			const n = 60_000 // just after the map has grown, when it is emptiest
			subs := make([]*Subscription, n)
			tok := token(t, 7)
			heap := func() int64 {
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int64(m.HeapAlloc)
			}
			before := heap()
			for i := range subs {
				tok.ID[15], tok.ID[14], tok.ID[13] = byte(i), byte(i>>8), byte(i>>16)
				subs[i] = begin(l, tok)
			}
			l.waits.toCheck(1, 0)
			each := (heap() - before) / n
			t.Logf("%d bytes", each)
			if each < 100 || each > 500 {
				t.Errorf("a wait takes %d bytes", each)
			}
			runtime.KeepAlive(subs)
			l.waits.close(pgbarrier.ErrClosed, nil)
		})
	}
}
