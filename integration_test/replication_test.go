package integration_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// replication is a primary with a streaming standby.
type replication struct {
	primary, standby *devpg.Server
	pool, replica    *pgxpool.Pool
}

// replicated starts a primary with the schema and a standby that has replayed it.
func replicated(t *testing.T, settings map[string]string) replication {
	t.Helper()
	r := replication{primary: devpg.ForTest(t, devpg.Config{Settings: settings})}
	r.pool = open(t, r.primary.URL())
	migrate(t, r.pool)
	var err error
	if r.standby, err = r.primary.Standby(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.standby.Close() })
	r.replica = open(t, r.standby.URL())
	r.catchUp(t)
	return r
}

// catchUp returns when the standby has replayed all that has been done on the primary.
func (r replication) catchUp(t testing.TB) {
	t.Helper()
	committed(t, r.pool) // flushes what an abort has written
	lsn := query[string](t, r.pool, "SELECT pg_current_wal_flush_lsn()::text")
	eventually(t, "the standby has it all", func() bool {
		return query[bool](t, r.replica, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn)
	})
}

func (r replication) pause(t testing.TB) {
	t.Helper()
	execute(t, r.replica, "SELECT pg_wal_replay_pause()")
	eventually(t, "replay is paused", func() bool {
		return query[string](t, r.replica, "SELECT pg_get_wal_replay_pause_state()") == "paused"
	})
}

func (r replication) resume(t testing.TB) {
	t.Helper()
	execute(t, r.replica, "SELECT pg_wal_replay_resume()")
}

// disconnect stops streaming: what the primary does from now on does not reach the standby. The primary
// refuses it, because nothing tells when the standby's processes have read a new setting.
func (r replication) disconnect(t testing.TB) {
	t.Helper()
	execute(t, r.pool, `COPY (SELECT 'host replication all all reject')
		TO PROGRAM 'cat - pg_hba.conf > pg_hba.new && mv pg_hba.new pg_hba.conf'`)
	execute(t, r.pool, "SELECT pg_reload_conf()")
	config := r.pool.Config().ConnConfig.Config
	config.RuntimeParams["replication"] = "true"
	eventually(t, "the primary refuses to stream", func() bool {
		conn, err := pgconn.ConnectConfig(t.Context(), &config)
		if err == nil {
			_ = conn.Close(context.Background())
		}
		return wire.SQLState(err) == "28000" // invalid_authorization_specification
	})
	eventually(t, "streaming has stopped", func() bool {
		execute(t, r.pool, "SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
		return query[int](t, r.pool, "SELECT count(*) FROM pg_stat_replication") == 0 &&
			query[int](t, r.replica, "SELECT count(*) FROM pg_stat_wal_receiver") == 0
	})
}

func (r replication) promote(t testing.TB) {
	t.Helper()
	if err := r.standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var replicaPoller = pgbarrier.Poller{MaxDelay: 20 * time.Millisecond}

var waiters atomic.Int64 // of all tests

// awaiting starts a wait on a replica and returns when it has asked at least once and goes on.
func awaiting(t *testing.T, ctx context.Context, replica *pgxpool.Pool, tokens ...pgbarrier.Token) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	name := fmt.Sprintf("waiter %d", waiters.Add(1))
	waiter := open(t, replica.Config().ConnString(), func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["application_name"] = name })
	go func() { done <- replicaPoller.AwaitReplica(ctx, waiter, tokens...) }()
	eventually(t, "the wait has asked", func() bool {
		return query[bool](t, replica, `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE application_name = $1 AND state = 'idle' AND query LIKE '%pgbarrier.visible%')`, name)
	})
	stillWaiting(t, done)
	return done
}

// outcome is what a wait ends with.
func outcome(t testing.TB, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("the wait does not end")
		return nil
	}
}

// visible returns the letters of pgbarrier.visible.
func visible(t testing.TB, db pgbarrier.DB, tokens ...string) string {
	t.Helper()
	return query[string](t, db, "SELECT outcomes FROM pgbarrier.visible($1)", tokens)
}

func wantVisible(t testing.TB, db pgbarrier.DB, letters string, tokens ...pgbarrier.Token) {
	t.Helper()
	var texts []string
	for _, token := range tokens {
		texts = append(texts, token.String())
	}
	if got := visible(t, db, texts...); got != letters {
		t.Fatalf("visible says %s, want %s", got, letters)
	}
}
