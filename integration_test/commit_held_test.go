package integration_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// PostgreSQL lets one transaction at a time commit with a NOTIFY. Here it never ends: it waits for a
// synchronous standby that there is not, as everybody else would who did not say that LOCAL is enough.

// holdable is a database of a server on which a NOTIFY can be held up in its COMMIT.
func holdable(t testing.TB, settings ...string) *pgxpool.Pool {
	t.Helper()
	all := map[string]string{"fsync": "off", "synchronous_standby_names": "nobody", "synchronous_commit": "local"}
	for i := 0; i+1 < len(settings); i += 2 {
		all[settings[i]] = settings[i+1]
	}
	pool := open(t, devpg.ForTest(t, devpg.Config{Settings: all}).URL())
	migrate(t, pool)
	return pool
}

const notifyLock = "locktype = 'object' AND classid = 'pg_database'::regclass AND objid = 0"

// hold has a NOTIFY held up in its COMMIT until release is called.
func hold(t testing.TB, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	holder := connect(t, pool)
	// What writes nothing waits for nobody.
	execute(t, holder, "SET synchronous_commit = on; BEGIN; NOTIFY stranger; SELECT pg_logical_emit_message(true, '', '')")
	ended := make(chan error, 1)
	go func() { ended <- holder.PgConn().Exec(context.Background(), "COMMIT").Close() }()
	eventually(t, "the NOTIFY is held up", func() bool {
		return query[bool](t, pool, "SELECT EXISTS (SELECT FROM pg_locks WHERE granted AND pid = $1 AND "+notifyLock+")", holder.PgConn().PID())
	})
	release = sync.OnceFunc(func() {
		execute(t, pool, "SELECT pg_cancel_backend($1)", holder.PgConn().PID())
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { // also when the test has failed
		if conn, err := pgx.ConnectConfig(context.Background(), pool.Config().ConnConfig); err == nil {
			_, _ = conn.Exec(context.Background(), "SELECT pg_cancel_backend($1)", holder.PgConn().PID())
			_ = conn.Close(context.Background())
		}
	})
	return release
}

// impatience are settings by which a COMMIT that had to wait for the held one would fail.
func impatience() []string {
	settings := []string{"lock_timeout = '500ms'", "lock_timeout = 1", "statement_timeout = '100ms'", "statement_timeout = '5s'",
		"deadlock_timeout = 1", "lock_timeout = 1; SET LOCAL deadlock_timeout = 1", "statement_timeout = '2147483647ms'", "lock_timeout = '24d'"}
	if server.Major() >= 17 {
		settings = append(settings, "transaction_timeout = '9900ms'", "transaction_timeout = '24d'", "transaction_timeout = '2147483647ms'")
	}
	return settings
}

func TestNoCommitWaitsForANotifyThatIsHeldUp(t *testing.T) {
	t.Parallel()
	pool := holdable(t)
	l := run(t, pool, listener.Config{})
	release := hold(t, pool)
	for _, setting := range append(impatience(), "work_mem = '4MB'") {
		var producers sync.WaitGroup
		for range 5 {
			producers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				tx, err := pool.Begin(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = tx.Rollback(context.Background()) }()
				var token pgbarrier.Token
				if err := tx.QueryRow(ctx, "SELECT pgbarrier.create()").Scan(&token); err != nil {
					t.Error(err)
					return
				}
				sub := l.Subscribe(token)
				defer sub.Close()
				if _, err := tx.Exec(ctx, "SET LOCAL "+setting); err != nil {
					t.Error(err)
					return
				}
				if err := tx.Commit(ctx); err != nil {
					t.Errorf("with %s: COMMIT: %v", setting, err)
				}
				select {
				case <-sub.Done():
				case <-ctx.Done():
				}
				if err := sub.Err(); err != nil {
					t.Errorf("with %s: the wait ended with %v", setting, err)
				}
			})
		}
		producers.Wait()
	}
	if waiting := query[int](t, pool, "SELECT count(*) FROM pg_locks WHERE NOT granted AND database IS DISTINCT FROM (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> ALL (SELECT pid FROM pg_stat_activity WHERE query ILIKE '%notify%')"); waiting > 0 {
		t.Errorf("%d wait for the NOTIFY", waiting)
	}
	release()
	listener := listen(t, pool)
	eventually(t, "commits are announced again", func() bool {
		token := committed(t, pool)
		heard := hear(t, pool, listener)
		return len(heard) == 1 && heard[0] == token.String()
	})
}

// window is a producer's COMMIT that has announced and not yet notified: something of the application's,
// a constraint for example, is checked in between.
type window struct {
	tx       pgx.Tx
	token    pgbarrier.Token
	producer *pgx.Conn
	ended    chan error
	pool     *pgxpool.Pool
	key      *pgx.Conn
}

// openWindow has a producer in that state. The settings are SET LOCAL.
func openWindow(t testing.TB, pool *pgxpool.Pool, settings ...string) *window {
	t.Helper()
	execute(t, pool, `CREATE TABLE IF NOT EXISTS slow ();
		CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN WHILE NOT pg_try_advisory_xact_lock(4711) LOOP PERFORM pg_sleep(0.005); END LOOP; RETURN NULL; END $$;
		DROP TRIGGER IF EXISTS slow ON slow;
		CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
	w := &window{producer: connect(t, pool), key: connect(t, pool), pool: pool, ended: make(chan error, 1)}
	execute(t, w.key, "SELECT pg_advisory_lock(4711)")
	w.tx = begin(t, w.producer)
	w.token = create(t, w.tx)
	execute(t, w.tx, "INSERT INTO slow DEFAULT VALUES")
	for _, setting := range settings {
		execute(t, w.tx, "SET LOCAL "+setting)
	}
	go func() { w.ended <- w.tx.Commit(context.Background()) }()
	eventually(t, "the producer is past the announcement", func() bool {
		return query[bool](t, pool, "SELECT coalesce(wait_event = 'PgSleep', false) FROM pg_stat_activity WHERE pid = $1", w.producer.PgConn().PID())
	})
	if !query[bool](t, pool, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND granted)", w.producer.PgConn().PID()) {
		t.Fatal("the producer does not announce")
	}
	return w
}

// goOn lets the producer notify. It returns the error of its COMMIT.
func (w *window) goOn(t testing.TB) {
	t.Helper()
	execute(t, w.key, "SELECT pg_advisory_unlock(4711)")
}

func (w *window) waits(t testing.TB) bool {
	t.Helper()
	return query[bool](t, w.pool, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted AND "+notifyLock+")", w.producer.PgConn().PID())
}

// Whoever gets between the announcement and the NOTIFY has to be waited for. That takes time, and fails
// nothing by itself.
func TestACommitOutlastsANotifyThatCameBetween(t *testing.T) {
	t.Parallel()
	pool := holdable(t)
	for _, settings := range [][]string{
		{"lock_timeout = 1"}, {"lock_timeout = '500ms'"}, {"statement_timeout = '1min'"}, {"deadlock_timeout = 1"},
		{"lock_timeout = 1", "deadlock_timeout = 1"},
	} {
		w := openWindow(t, pool, settings...)
		release := hold(t, pool)
		w.goOn(t)
		eventually(t, "the producer waits for the NOTIFY", func() bool { return w.waits(t) })
		for range 10 { // long past the timeouts
			execute(t, pool, "SELECT pg_sleep(0.1)")
		}
		select {
		case err := <-w.ended:
			t.Errorf("with %s: COMMIT ended early: %v", settings, err)
		default:
			release()
			if err := <-w.ended; err != nil {
				t.Errorf("with %s: COMMIT: %v", settings, err)
			}
		}
		release()
		want(t, pool, pgbarrier.Committed, w.token)
	}
}

// What time there is left is known only of the server's own limits.
func TestACommitThatIsGivenUpWhileItWaitsHasTheTrueOutcome(t *testing.T) {
	t.Parallel()
	pool := holdable(t)
	for name, giveUp := range map[string]func(w *window){
		"cancelled": func(w *window) { execute(t, pool, "SELECT pg_cancel_backend($1)", w.producer.PgConn().PID()) },
		"killed":    func(w *window) { execute(t, pool, "SELECT pg_terminate_backend($1)", w.producer.PgConn().PID()) },
		"cut off":   func(w *window) { _ = w.producer.PgConn().Conn().Close() },
	} {
		w := openWindow(t, pool)
		release := hold(t, pool)
		w.goOn(t)
		eventually(t, "the producer waits for the NOTIFY", func() bool { return w.waits(t) })
		want(t, pool, pgbarrier.Pending, w.token)
		giveUp(w)
		err := <-w.ended
		if err == nil {
			t.Errorf("%s: COMMIT succeeded", name)
		}
		release()
		outcome := pgbarrier.Poll(t.Context(), pool, w.token)
		expected := pgbarrier.ErrAborted
		// The server does not look whether anybody is there, but pgx may have it cancelled.
		if name == "cut off" && query[bool](t, pool, "SELECT EXISTS (SELECT FROM pgbarrier.barrier WHERE id = $1)", w.token.ID.String()) {
			expected = nil
		}
		wantErr(t, name, outcome, expected)
		eventually(t, "nothing is left behind", func() bool {
			return query[int](t, pool, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1", w.producer.PgConn().PID()) == 0
		})
	}
}

// In the application's own session nothing is different afterwards.
func TestACommitLeavesTheSessionsSettingsAlone(t *testing.T) {
	t.Parallel()
	pool := quietDatabase(t)
	listener := listen(t, pool)
	names := []string{"lock_timeout", "statement_timeout", "pgbarrier.announced", "pgbarrier.announce", "pgbarrier.alone", "search_path"}
	settings := func(conn *pgx.Conn) string {
		all := ""
		for _, name := range names {
			all += fmt.Sprintf("%s=%s ", name, query[string](t, conn, "SELECT coalesce(current_setting($1, true), '')", name))
		}
		return all
	}
	for _, session := range []string{"SELECT 1", "SET lock_timeout = '7s'", "SET lock_timeout = 0", "SET search_path = pg_temp, public"} {
		for _, local := range []string{"SELECT 1", "SET LOCAL lock_timeout = '3s'", "SET lock_timeout = '5s'", "SET lock_timeout = '5s'; SET LOCAL lock_timeout = '3s'",
			"RESET lock_timeout", "SET LOCAL lock_timeout = '5s'; SAVEPOINT s; SET LOCAL lock_timeout = '6s'; RELEASE s"} {
			for _, end := range []string{"COMMIT", "COMMIT AND CHAIN", "ROLLBACK"} {
				var after [2]string
				for i, sql := range []string{"SELECT 1", "SELECT pgbarrier.create(), pgbarrier.create()"} {
					conn := connect(t, pool)
					execute(t, conn, session)
					execute(t, conn, "SELECT set_config(n, coalesce(current_setting(n, true), ''), false) FROM unnest($1::text[]) n", names[2:5])
					execute(t, conn, "BEGIN")
					execute(t, conn, local)
					execute(t, conn, sql)
					execute(t, conn, end)
					after[i] = settings(conn)
					if heard := hear(t, pool, listener); len(heard) != 2*i && end != "ROLLBACK" {
						t.Errorf("%s, %s, %s: heard %q", session, local, end, heard)
					}
				}
				if after[0] != after[1] {
					t.Errorf("%s, %s, %s: without a barrier %s, with one %s", session, local, end, after[0], after[1])
				}
			}
		}
	}
}
