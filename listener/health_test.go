package listener

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// probed is a listener on a model that a probe asks for its health.
func probed(t *testing.T, m *model, config Config) *Listener {
	l := &Listener{config: config, waits: start(t, m, config)}
	l.begun.Store(true)
	return l
}

// asked is its health after what the last probe has asked was answered.
func asked(l *Listener) Health {
	l.Health()
	time.Sleep(5 * time.Second)
	synctest.Wait()
	return l.Health()
}

func TestHealthFollowsTheDatabaseAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		l := probed(t, m, Config{})
		if h := asked(l); h.Status != Healthy || h.Reason != nil {
			t.Fatalf("%+v", h)
		}

		// Nothing is waited for: only the probe has the server asked.
		m.setDown(errBroken)
		m.breakSessions()
		if h := asked(l); h.Status != Down || !errors.Is(h.Reason, errBroken) {
			t.Errorf("while the server is down: %+v", h)
		}
		for range 100 {
			l.Health()
		}
		if n := l.waits.questions.size; n != 1 {
			t.Errorf("%d questions of probes wait", n)
		}

		m.setDown(nil)
		time.Sleep(2 * maxReconnect)
		synctest.Wait()
		if h := l.Health(); h.Status != Healthy {
			t.Errorf("when it is back: %+v", h)
		}
	})
}

func TestWhoHearsNothingIsDegradedAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.setDeaf(true)
		l := probed(t, m, Config{})
		l.Health()
		synctest.Wait()
		if h := l.Health(); h.Status != Degraded || h.Reason != errNotHeard {
			t.Errorf("at first: %+v", h)
		}
		time.Sleep(20 * time.Second)
		if h := asked(l); h.Status != Degraded || !errors.Is(h.Reason, errDeaf) {
			t.Errorf("later: %+v", h)
		}
		m.setDeaf(false)
		time.Sleep(time.Minute)
		if h := asked(l); h.Status != Healthy {
			t.Errorf("when it hears: %+v", h)
		}
		m.setDeaf(true)
		time.Sleep(time.Minute)
		if h := asked(l); h.Status != Degraded {
			t.Errorf("deaf again: %+v", h)
		}
	})
}

func TestWhoOnlyPollsIsHealthyWhileChecksSucceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		l := probed(t, m, pollOnly)
		if h := asked(l); h.Status != Healthy {
			t.Errorf("%+v", h)
		}
		m.setDown(errBroken)
		if h := asked(l); h.Status != Down || !errors.Is(h.Reason, errBroken) {
			t.Errorf("while the server is down: %+v", h)
		}
		m.setDown(nil)
		if h := asked(l); h.Status != Healthy {
			t.Errorf("when it is back: %+v", h)
		}
	})
}

func TestWithoutRunAListenerIsDown(t *testing.T) {
	l, err := New(pool(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if h := l.Health(); h.Status != Down || h.Reason != errNotRun || l.waits.questions.size != 0 {
		t.Errorf("before Run: %+v", h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- l.Run(ctx) }()
	for l.Stats().LastErr == nil { // it has tried once
		time.Sleep(time.Millisecond)
	}
	if h := l.Health(); h.Status != Down || !wire.IsOutage(h.Reason) {
		t.Errorf("without a server: %+v", h)
	}
	cancel()
	<-ran
	if h := l.Health(); h.Status != Down || !errors.Is(h.Reason, pgbarrier.ErrClosed) {
		t.Errorf("after Run: %+v", h)
	}
	for status, name := range map[HealthStatus]string{Down: "down", Degraded: "degraded", Healthy: "healthy"} {
		if status.String() != name {
			t.Errorf("%d is %s", status, status)
		}
	}
}
