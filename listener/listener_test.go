package listener

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgxlisten"

	"github.com/pgbarrier/pgbarrier"
)

// pool returns a pool that nothing listens for: it connects to nothing by itself.
func pool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	p, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	if _, err := New(nil, Config{}); err == nil || !strings.Contains(err.Error(), "pool is nil") {
		t.Errorf("nil pool: %v", err)
	}
	for want, config := range map[string]Config{
		"MinDelay is -1s":     {MinDelay: -time.Second},
		"MaxDelay -1s":        {MaxDelay: -time.Second},
		"MinDelay is 2s":      {MinDelay: 2 * time.Second},
		"Heartbeat is -1s":    {Heartbeat: -time.Second},
		"Retention is -1h0m0": {Retention: -time.Hour},
		"at least a minute":   {Retention: time.Second},
		"ListenConnString":    {ListenConnString: "postgres://127.0.0.1:port/"},
		"choose one":          {ListenConnString: "host=127.0.0.1", PollOnly: true},
	} {
		if _, err := New(pool(t), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that says %q", err, want)
		}
	}
}

func TestAWaitRefusesWhatIsNoToken(t *testing.T) {
	l, err := New(pool(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tokens := range map[string][]pgbarrier.Token{
		"none":             nil,
		"zero":             {{}},
		"one of two":       {token(t, 7), {}},
		"no transaction":   {token(t, 0)},
		"not a version 7 ": {{XID: 7}},
	} {
		if err := l.Wait(t.Context(), tokens...); !errors.Is(err, pgbarrier.ErrInvalidToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	assertEmpty(t, l.waits)
}

func TestAContextErrorComesBackAsItself(t *testing.T) {
	l, err := New(pool(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Wait(ctx, token(t, 7)); err != context.Canceled {
		t.Errorf("canceled: %v", err)
	}
	ctx, cancel = context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if err := l.Wait(ctx, token(t, 7)); err != context.DeadlineExceeded {
		t.Errorf("deadline: %v", err)
	}
	assertEmpty(t, l.waits)
}

func TestRunWithoutAServerGoesOnUntilItsContextEnds(t *testing.T) {
	logged := make(chan struct{}, 100)
	l, err := New(pool(t), Config{Logger: slog.New(signalHandler{logged})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- l.Run(ctx) }()
	sub := l.Subscribe(token(t, 7))
	<-logged
	<-logged // it has tried twice
	if ended(sub) || l.Stats().LastErr == nil || l.Stats().Waiting != 1 {
		t.Errorf("ended %v, stats %+v", ended(sub), l.Stats())
	}
	cancel()
	if err := <-ran; err != context.Canceled {
		t.Errorf("Run: %v", err)
	}
	<-sub.Done()
	if sub.Err() != pgbarrier.ErrClosed {
		t.Errorf("the wait ended with %v", sub.Err())
	}
	if err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "runs once") {
		t.Errorf("second Run: %v", err)
	}
	if err := l.Wait(t.Context(), token(t, 7)); err != pgbarrier.ErrClosed {
		t.Errorf("a wait after Run has returned: %v", err)
	}
}

// signalHandler is a log that tells of each record.
type signalHandler struct{ records chan<- struct{} }

func (h signalHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h signalHandler) Handle(context.Context, slog.Record) error {
	select {
	case h.records <- struct{}{}:
	default:
	}
	return nil
}
func (h signalHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h signalHandler) WithGroup(string) slog.Handler      { return h }

func TestAnApplicationsOwnReceiveLoopFeedsTheListener(t *testing.T) {
	l, err := New(pool(t), Config{PollOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var h pgxlisten.Handler = l
	a, b := token(t, 7), token(t, 8)
	sub := l.Subscribe(a)
	if err := h.HandleNotification(t.Context(), &pgconn.Notification{Channel: "other", Payload: a.String()}, nil); err != nil || ended(sub) {
		t.Errorf("another channel: %v, ended %v", err, ended(sub))
	}
	if err := h.HandleNotification(t.Context(), &pgconn.Notification{Channel: Channel, Payload: "nonsense"}, nil); !errors.Is(err, pgbarrier.ErrInvalidToken) {
		t.Errorf("nonsense: %v", err)
	}
	if err := h.HandleNotification(t.Context(), &pgconn.Notification{Channel: Channel, Payload: a.String()}, nil); err != nil || !ended(sub) || sub.Err() != nil {
		t.Errorf("the announcement: %v, ended %v, %v", err, ended(sub), sub.Err())
	}

	// Nothing that was heard is believed later, and after a reconnect everything is asked for.
	again := l.Subscribe(a)
	defer again.Close()
	sub = l.Subscribe(b)
	defer sub.Close()
	l.waits.toCheck(1, 0)
	if err := any(h).(pgxlisten.BacklogHandler).HandleBacklog(t.Context(), Channel, nil); err != nil {
		t.Error(err)
	}
	if asked := l.waits.toCheck(2, 0).tokens; len(asked) != 2 || ended(again) {
		t.Errorf("asks for %d of 2 tokens, ended %v", len(asked), ended(again))
	}
	if stats := l.Stats(); stats.Announcements != 1 || stats.Malformed != 1 {
		t.Errorf("%+v", stats)
	}
}
