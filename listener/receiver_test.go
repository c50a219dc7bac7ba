package listener

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

func announce(t *testing.T, m *model, tok pgbarrier.Token) {
	t.Helper()
	if err := m.notify(t.Context(), Channel, tok.String()); err != nil {
		t.Fatal(err)
	}
}

func TestAnAnnouncementEndsAWaitWithoutACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits, status := start(t, m, Config{})
		a := token(t, 7)
		sub := waits.subscribe([]pgbarrier.Token{a})
		synctest.Wait()
		if !status.up {
			t.Fatal("not connected")
		}
		before := m.statements()
		announce(t, m, a)
		<-sub.Done()
		if sub.Err() != nil || m.statements() != before {
			t.Errorf("%v after %d checks", sub.Err(), m.statements()-before)
		}
	})
}

func TestWhatWasMissedWhileReconnectingIsFoundAtTheReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits, status := start(t, m, Config{})
		a := token(t, 7)
		sub := waits.subscribe([]pgbarrier.Token{a})
		time.Sleep(time.Hour) // checks have become rare
		m.breakSessions()
		m.set(a, pgbarrier.Committed) // announced to nobody
		lost := time.Now()
		<-sub.Done()
		if sub.Err() != nil || time.Since(lost) > 2*minReconnect {
			t.Errorf("%v after the loss: %v", time.Since(lost), sub.Err())
		}
		time.Sleep(2 * minReconnect)
		synctest.Wait()
		if !status.up || status.connections != 2 {
			t.Errorf("connected: %v, connections: %d", status.up, status.connections)
		}
	})
}

func TestASessionThatGoesSilentIsReplacedWithinHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		var lost []error
		var lostAt time.Time
		_, status := start(t, m, Config{Trace: Trace{Disconnected: func(err error) { lost = append(lost, err); lostAt = time.Now() }}})
		time.Sleep(time.Hour)
		synctest.Wait()
		if status.connections != 1 || len(lost) != 0 {
			t.Fatalf("a healthy session was replaced: %v", lost)
		}
		m.setDeaf(true)
		silent := time.Now()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if len(lost) != 1 || !errors.Is(lost[0], errSilent) || lostAt.Sub(silent) > 16*time.Second {
			t.Fatalf("after %v: %v", lostAt.Sub(silent), lost)
		}
		m.setDeaf(false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if !status.up {
			t.Error("not connected again")
		}
	})
}

func TestAListenThatNeverHearsIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.setDeaf(true)
		waits, status := start(t, m, Config{})
		a := token(t, 7)
		m.set(a, pgbarrier.Committed)
		sub := waits.subscribe([]pgbarrier.Token{a})
		<-sub.Done() // by a check
		if sub.Err() != nil {
			t.Error(sub.Err())
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if status.up || !errors.Is(status.listenErr, errDeaf) || !strings.Contains(status.listenErr.Error(), "pooler") {
			t.Errorf("connected: %v, error: %v", status.up, status.listenErr)
		}
	})
}

// Announcements prove that the session hears: no pulse is sent then.
func TestABusySessionNeedsNoPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		_, status := start(t, m, Config{})
		synctest.Wait()
		for range 100 {
			announce(t, m, token(t, 7))
			time.Sleep(5 * time.Second)
		}
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		if status.connections != 1 || m.pulses != 1 {
			t.Errorf("%d connections, %d pulses, want one for the one connection", status.connections, m.pulses)
		}
	})
}

func TestReconnectsBackOffAndStartAfreshAfterAHealthySpell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		_, status := start(t, m, Config{})
		time.Sleep(healthySpell)
		m.setDown(errBroken)
		m.breakSessions()
		time.Sleep(time.Hour)
		m.setDown(nil)
		time.Sleep(2 * maxReconnect)
		synctest.Wait()
		if !status.up {
			t.Fatal("not connected 20 s after the server is back")
		}
		time.Sleep(healthySpell)
		m.breakSessions()
		time.Sleep(2 * minReconnect)
		synctest.Wait()
		if !status.up {
			t.Error("the first reconnect after a healthy spell was late")
		}
	})
}

// What it heard before it could be proved, in a crash's last moments perhaps, is not believed after.
func TestASessionThatWasLostBeforeItWasProvedIsForgottenToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.setDeaf(true)
		waits, status := start(t, m, Config{})
		synctest.Wait() // it waits for its pulse
		a := token(t, 7)
		m.mu.Lock()
		m.sessions[0].queue <- [2]string{Channel, a.String()}
		m.mu.Unlock()
		synctest.Wait()
		if sub := waits.subscribe([]pgbarrier.Token{a}); !ended(sub) {
			t.Fatal("the announcement was not heard")
		}
		m.setDeaf(false)
		m.breakSessions()
		time.Sleep(time.Second)
		synctest.Wait()
		sub := waits.subscribe([]pgbarrier.Token{a})
		defer sub.Close()
		if !status.up || ended(sub) {
			t.Errorf("up %v, believed %v", status.up, ended(sub))
		}
	})
}
