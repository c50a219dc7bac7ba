package integration_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// becomes fails the test unless the listener gets that status, as its probe sees it, and says the word.
func becomes(t *testing.T, l *listener.Listener, status listener.HealthStatus, word string) {
	t.Helper()
	eventually(t, "the listener is "+status.String(), func() bool {
		h := l.Health()
		return h.Status == status && (h.Reason == nil) == (status == listener.Healthy) && (word == "" || strings.Contains(h.Reason.Error(), word))
	})
}

func TestAProbeSeesAnOutageThoughNothingIsWaitedFor(t *testing.T) {
	t.Parallel()
	own := devpg.ForTest(t, devpg.Config{Settings: map[string]string{"fsync": "off"}})
	pool := open(t, own.URL())
	migrate(t, pool)
	for name, config := range map[string]listener.Config{"listening": {}, "polling": {PollOnly: true}} {
		t.Run(name, func(t *testing.T) {
			l := run(t, pool, config)
			becomes(t, l, listener.Healthy, "")
			if err := own.Crash(t.Context()); err != nil {
				t.Fatal(err)
			}
			becomes(t, l, listener.Down, "")
			if err := l.Health().Reason; errors.Is(err, pgbarrier.ErrClosed) {
				t.Errorf("an outage would restart the process: %v", err)
			}
			if err := own.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			becomes(t, l, listener.Healthy, "")
		})
	}
}

func TestAListenThroughPgBouncerIsDegradedForAProbe(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := runUnready(t, throughPgBouncer(t, pool), listener.Config{Heartbeat: 500 * time.Millisecond})
	becomes(t, l, listener.Degraded, "pooler")
	wait(t, l, pgbarrier.ErrAborted, aborted(t, pool)) // it does its work
	direct := run(t, throughPgBouncer(t, pool), listener.Config{ListenConnString: pool.Config().ConnString()})
	becomes(t, direct, listener.Healthy, "")
}
