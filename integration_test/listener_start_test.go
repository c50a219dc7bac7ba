package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// runErr returns what Run returns by itself.
func runErr(t testing.TB, pool *pgxpool.Pool) error {
	t.Helper()
	l, err := listener.New(pool, listener.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- l.Run(t.Context()) }()
	select {
	case err := <-ran:
		return err
	case <-time.After(patience):
		t.Fatalf("Run goes on: %+v", l.Stats())
		return nil
	}
}

func TestRunReturnsAtOnceWhenTheRoleLacksAGrant(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	role := newRole(t, pool)
	for _, step := range []struct{ lacks, grant string }{
		{"schema pgbarrier", "USAGE ON SCHEMA pgbarrier"},
		{"function version", "EXECUTE ON FUNCTION pgbarrier.version()"},
		{"function check", ""},
	} {
		err := runErr(t, as(t, pool, role))
		if err == nil || !strings.Contains(err.Error(), "lacks a grant") || !strings.Contains(err.Error(), step.lacks) {
			t.Errorf("without a grant on the %s: %v", step.lacks, err)
		}
		if step.grant != "" {
			execute(t, pool, "GRANT "+step.grant+" TO "+role)
		}
	}
}

func TestRunReturnsAtOnceOnAStandby(t *testing.T) {
	t.Parallel()
	primary := devpg.ForTest(t)
	migrate(t, open(t, primary.URL()))
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Run on a standby", runErr(t, open(t, standby.URL())), pgbarrier.ErrStandby)
}

func TestAListenConnectionToAnotherDatabaseIsNoticed(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := runUnready(t, pool, listener.Config{ListenConnString: emptyDatabase(t).Config().ConnString(), Heartbeat: 200 * time.Millisecond})
	wait(t, l, nil, committed(t, pool))
	eventually(t, "the deaf connection is noticed", func() bool {
		stats := l.Stats()
		return stats.LastErr != nil && strings.Contains(stats.LastErr.Error(), "another database")
	})
}
