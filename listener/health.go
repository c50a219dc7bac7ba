package listener

import (
	"cmp"
	"errors"
)

// Health is what a probe wants to know of a listener.
type Health struct {
	Status HealthStatus
	Reason error // why it is not Healthy, otherwise nil
}

// HealthStatus says how waits end. Its zero value is Down.
type HealthStatus uint8

const (
	Down     HealthStatus = iota // they do not end: the server does not answer checks, or Run is not running
	Degraded                     // by checks alone, because nothing is heard
	Healthy                      // as they should; with Config.PollOnly that is by checks
)

// String returns down, degraded or healthy.
func (s HealthStatus) String() string {
	return [...]string{"down", "degraded", "healthy"}[min(s, Healthy)]
}

// Health returns what the listener has seen last, at once. It also has the server asked, unless it is being
// asked anyhow, so that the next call knows of an outage while nothing is waited for.
//
// In Kubernetes a readiness probe fails while the status is Down: messages wait where they are. A Degraded process
// does its work, a little later. A liveness probe fails only if the reason is pgbarrier.ErrClosed: Run has returned
// and the process still lives. No restart brings a database back, and Run reconnects by itself.
func (l *Listener) Health() Health {
	w := l.waits
	w.mu.Lock()
	s, closed, answered, asking := w.stats, w.closed, w.statements > 0, w.questions.size > 0
	w.mu.Unlock()
	switch {
	case closed != nil:
		return Health{Down, closed}
	case !l.begun.Load():
		return Health{Down, errNotRun}
	case !asking:
		w.ask(nil)
	}
	switch {
	case !answered:
		return Health{Down, cmp.Or(s.listenErr, errNotAnswered)}
	case s.checkErr != nil:
		return Health{Down, s.checkErr}
	case !s.Connected && !l.config.PollOnly:
		return Health{Degraded, cmp.Or(s.listenErr, errNotHeard)}
	}
	return Health{Status: Healthy}
}

var (
	errNotRun      = errors.New("pgbarrier: listener: Run has not been called")
	errNotAnswered = errors.New("pgbarrier: listener: the server has not answered yet")
	errNotHeard    = errors.New("pgbarrier: listener: the LISTEN connection has not heard anything yet")
)
