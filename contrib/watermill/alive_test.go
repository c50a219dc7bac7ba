package guardwatermill

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// A message is held for 10 minutes and handled for 5; AckWait would be 20 s.
func TestABrokerIsToldOfAMessageWhileItIsHeldAndHandledAndNotLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var barriers guardtest.Waiter
		g, err := guard.New(&barriers, guard.Config{})
		if err != nil {
			t.Fatal(err)
		}
		token := guardtest.NewToken()
		m := message.NewMessage("", nil)
		m.Metadata.Set(guard.Header, token.String())
		var told atomic.Int64
		KeepAlive(m, 5*time.Second, func() error {
			told.Add(1)
			return nil
		})
		handler := Middleware(g, Config{})(func(*message.Message) ([]*message.Message, error) {
			time.Sleep(5*time.Minute + time.Second)
			return nil, nil
		})
		time.AfterFunc(10*time.Minute+time.Second, func() { barriers.Commit(token) })
		if _, err := handler(m); err != nil {
			t.Fatal(err)
		}
		if n := told.Load(); n != 15*60/5 {
			t.Errorf("the broker was told %d times, want %d", n, 15*60/5)
		}
		time.Sleep(time.Hour)
		if n := told.Load(); n != 15*60/5 {
			t.Errorf("the broker was told %d times after the message was done with", n-15*60/5)
		}
	})
}

// A subscriber that has given a message up does not tell: the broker must deliver it again.
func TestABrokerIsNotToldOfAMessageWhoseContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var barriers guardtest.Waiter
		g, err := guard.New(&barriers, guard.Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		m := message.NewMessageWithContext(ctx, "", nil)
		var told atomic.Int64
		KeepAlive(m, time.Second, func() error {
			told.Add(1)
			return nil
		})
		time.AfterFunc(10*time.Second+time.Millisecond, cancel)
		handler := Middleware(g, Config{})(func(*message.Message) ([]*message.Message, error) {
			time.Sleep(time.Hour) // it does not look at its context
			return nil, nil
		})
		if _, err := handler(m); err != nil {
			t.Fatal(err)
		}
		if n := told.Load(); n != 10 {
			t.Errorf("the broker was told %d times, want 10", n)
		}
	})
}

func TestAMessageThatNoMiddlewareGetsIsForgotten(t *testing.T) {
	collected := make(chan struct{})
	func() {
		m := message.NewMessage("", nil)
		KeepAlive(m, time.Second, func() error { return nil })
		runtime.AddCleanup(m, func(done chan struct{}) { close(done) }, collected)
	}()
	for deadline := time.Now().Add(patience); ; {
		runtime.GC()
		n := 0
		signs.Range(func(any, any) bool { n++; return true })
		select {
		case <-collected:
			if n == 0 {
				return
			}
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages are remembered", n)
		}
		time.Sleep(time.Millisecond)
	}
}
