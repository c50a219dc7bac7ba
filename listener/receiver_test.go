package listener

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

func announce(m *model, tok pgbarrier.Token) { m.notify(Channel, tok.String()) }

func TestAnAnnouncementEndsAWaitWithoutACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, Config{})
		a := token(t, 7)
		sub := subscribe(waits, []pgbarrier.Token{a})
		synctest.Wait()
		if !numbers(waits).Connected {
			t.Fatal("not connected")
		}
		before := m.statements()
		announce(m, a)
		<-sub.Done()
		if sub.Err() != nil || m.statements() != before {
			t.Errorf("%v after %d checks", sub.Err(), m.statements()-before)
		}
	})
}

func TestWhatWasMissedWhileReconnectingIsFoundAtTheReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, Config{})
		a := token(t, 7)
		sub := subscribe(waits, []pgbarrier.Token{a})
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
		if !numbers(waits).Connected || numbers(waits).Connections != 2 {
			t.Errorf("connected: %v, connections: %d", numbers(waits).Connected, numbers(waits).Connections)
		}
	})
}

func TestASessionThatGoesSilentIsReplacedWithinHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		var lost []error
		var lostAt time.Time
		waits := start(t, m, Config{Trace: Trace{Disconnected: func(err error) { lost = append(lost, err); lostAt = time.Now() }}})
		time.Sleep(time.Hour)
		synctest.Wait()
		if numbers(waits).Connections != 1 || len(lost) != 0 {
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
		if !numbers(waits).Connected {
			t.Error("not connected again")
		}
	})
}

func TestAListenThatNeverHearsIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.setDeaf(true)
		waits := start(t, m, Config{})
		a := token(t, 7)
		m.set(a, pgbarrier.Committed)
		sub := subscribe(waits, []pgbarrier.Token{a})
		<-sub.Done() // by a check
		if sub.Err() != nil {
			t.Error(sub.Err())
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if numbers(waits).Connected || !errors.Is(numbers(waits).listenErr, errDeaf) || !strings.Contains(numbers(waits).listenErr.Error(), "pooler") {
			t.Errorf("connected: %v, error: %v", numbers(waits).Connected, numbers(waits).listenErr)
		}
	})
}

// Announcements prove that the session hears: no probe is sent then.
func TestABusySessionNeedsNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, Config{})
		synctest.Wait()
		for range 100 {
			announce(m, token(t, 7))
			time.Sleep(5 * time.Second)
		}
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		if numbers(waits).Connections != 1 || m.probes != 1 {
			t.Errorf("%d connections, %d probes, want one for the one connection", numbers(waits).Connections, m.probes)
		}
	})
}

func TestReconnectsBackOffAndStartAfreshAfterAHealthySpell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, Config{})
		time.Sleep(healthySpell)
		m.setDown(errBroken)
		m.breakSessions()
		time.Sleep(time.Hour)
		m.setDown(nil)
		time.Sleep(2 * maxReconnect)
		synctest.Wait()
		if !numbers(waits).Connected {
			t.Fatal("not connected 20 s after the server is back")
		}
		time.Sleep(healthySpell)
		m.breakSessions()
		time.Sleep(2 * minReconnect)
		synctest.Wait()
		if !numbers(waits).Connected {
			t.Error("the first reconnect after a healthy spell was late")
		}
	})
}

// Through a pooler in transaction mode something may come with the answer to LISTEN, and nothing after it.
func TestWhatCameWithListenProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.setDeaf(true)
		waits := start(t, m, Config{})
		synctest.Wait() // it waits for its probe
		a := token(t, 7)
		sub := subscribe(waits, []pgbarrier.Token{a})
		m.change(func() {
			m.sessions[0].queue <- [2]string{probeChannel, "another's"}
			m.sessions[0].queue <- [2]string{Channel, a.String()}
		})
		synctest.Wait()
		again := subscribe(waits, []pgbarrier.Token{a})
		defer again.Close()
		if !ended(sub) || ended(again) || numbers(waits).Connected {
			t.Errorf("ended %v, remembered %v, up %v", ended(sub), ended(again), numbers(waits).Connected)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if !errors.Is(numbers(waits).listenErr, errDeaf) {
			t.Error(numbers(waits).listenErr)
		}
	})
}

// In a fleet, one session's probe spares the others theirs.
func TestAnybodysProbeProvesThatTheSessionHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, Config{})
		synctest.Wait()
		for range 1000 {
			m.notify(probeChannel, "another's")
			time.Sleep(7 * time.Second)
		}
		synctest.Wait()
		if !numbers(waits).Connected || m.probes != 1 {
			t.Errorf("up %v, %d probes", numbers(waits).Connected, m.probes)
		}
	})
}

// A COMMIT in another database can hold up every notification of the server.
func TestASessionIsKeptWhileNotificationsAreHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		waits := start(t, m, Config{})
		synctest.Wait()
		m.change(func() { m.probeErr, m.holder = errNotSent, "pid 1" })
		time.Sleep(time.Hour)
		synctest.Wait()
		if !numbers(waits).Connected || numbers(waits).Connections != 1 || m.probes < 300 {
			t.Errorf("up %v, %d connections, %d probes", numbers(waits).Connected, numbers(waits).Connections, m.probes)
		}
		m.change(func() { m.holder = "" }) // that was not the reason
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if numbers(waits).Connected {
			t.Error("a session that cannot be proved is kept")
		}
	})
}

func TestANewSessionIsNotReadyWhileNotificationsAreHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.change(func() { m.probeErr, m.holder = errNotSent, "pid 1" })
		waits := start(t, m, Config{})
		time.Sleep(time.Hour)
		synctest.Wait()
		a := token(t, 7)
		m.set(a, pgbarrier.Committed)
		if sub := subscribe(waits, []pgbarrier.Token{a}); numbers(waits).Connected || waitFor(sub) != nil {
			t.Errorf("up %v, %v", numbers(waits).Connected, sub.Err())
		}
		m.change(func() { m.probeErr = nil })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !numbers(waits).Connected || len(m.connects) != 1 {
			t.Errorf("up %v after %d connections", numbers(waits).Connected, len(m.connects))
		}
	})
}

// No place is left for the check connection, whose own was taken.
func TestTheSessionIsGivenBackWhenThereIsNoRoomForChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.change(func() { m.places = 1 })
		waits := start(t, m, Config{})
		synctest.Wait()
		if !numbers(waits).Connected {
			t.Fatal("not listening")
		}
		a := token(t, 7)
		m.set(a, pgbarrier.Committed)
		begun := time.Now()
		if err := waitFor(subscribe(waits, []pgbarrier.Token{a})); err != nil || time.Since(begun) > time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		synctest.Wait()
		if numbers(waits).Connected || !errors.Is(numbers(waits).listenErr, errGivenBack) {
			t.Errorf("up %v, %v", numbers(waits).Connected, numbers(waits).listenErr)
		}
		time.Sleep(2 * maxReconnect)
		synctest.Wait()
		if !numbers(waits).Connected {
			t.Error("does not listen again")
		}
	})
}

func waitFor(sub *Subscription) error {
	<-sub.Done()
	return sub.Err()
}
