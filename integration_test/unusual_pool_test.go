package integration_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// What an application may have set for its pool, and must not reach the listener's sessions.

// withSetting is the URL with a setting for its sessions.
func withSetting(t *testing.T, direct, name, value string) string {
	t.Helper()
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	parameters := u.Query()
	parameters.Set(name, value)
	u.RawQuery = strings.ReplaceAll(parameters.Encode(), "+", "%20") // a plus is itself to pgx
	return u.String()
}

func TestThePoolsNotificationHandlerTakesNothingFromTheListener(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, open(t, pool.Config().ConnString(), func(c *pgxpool.Config) {
		c.ConnConfig.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) { t.Error("the application was told") }
	}), listener.Config{})
	wait(t, l, nil, committed(t, pool))
	eventually(t, "the listener has heard", func() bool { return l.Stats().Announcements > 0 })
}

// The pool would ask the server to cancel a statement, and wait for its answer for a minute.
func TestThePoolsWayOfEndingAStatementDoesNotKeepADeadConnection(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	network, through := badNetwork(t, pool.Config().ConnString())
	l := run(t, open(t, through, func(c *pgxpool.Config) {
		c.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 2 * patience}
		}
	}), listener.Config{})
	tx := begin(t, pool)
	sub := pending(t, l, create(t, tx))
	network.Swallow(0)
	commit(t, tx)
	wantEnd(t, sub, nil)
}

func TestAHookThatFailsDoesNotEndRun(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	errNoPassword := errors.New("no password today")
	var failures atomic.Int32
	once := func() error {
		if failures.Add(1) == 1 {
			return errNoPassword
		}
		return nil
	}
	for name, hook := range map[string]func(*pgxpool.Config){
		"BeforeConnect": func(c *pgxpool.Config) {
			c.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return once() }
		},
		"AfterConnect": func(c *pgxpool.Config) {
			c.AfterConnect = func(context.Context, *pgx.Conn) error { return once() }
		},
	} {
		failures.Store(0)
		l := run(t, open(t, pool.Config().ConnString(), hook), listener.Config{})
		wait(t, l, nil, committed(t, pool))
		if failures.Load() < 2 {
			t.Errorf("%s was not called again", name)
		}
	}
}

func TestALockTimeoutEndsNeitherRunNorAPoll(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE public.locked ()")
	disturbed(t, pool, "IF current_setting('lock_timeout') <> '0' THEN PERFORM FROM public.locked; END IF")
	tx := begin(t, pool)
	token := create(t, tx)
	impatient := open(t, withSetting(t, pool.Config().ConnString(), "lock_timeout", "20ms"))
	locker := begin(t, pool)
	execute(t, locker, "LOCK TABLE public.locked IN ACCESS EXCLUSIVE MODE")
	l := runUnready(t, impatient, listener.Config{})
	var failed atomic.Bool
	polling := make(chan error, 1)
	pollers := open(t, impatient.Config().ConnString(), func(c *pgxpool.Config) { c.ConnConfig.Tracer = failing{&failed} })
	go func() { polling <- pgbarrier.Poll(t.Context(), pollers, token) }()
	eventually(t, "both have failed", func() bool { return failed.Load() && l.Stats().LastErr != nil })
	rollback(t, locker)
	sub := pending(t, l, token)
	stillWaiting(t, polling)
	commit(t, tx)
	wantEnd(t, sub, nil)
	if err := outcome(t, polling); err != nil {
		t.Error(err)
	}
}

// failing remembers that a query has failed.
type failing struct{ has *atomic.Bool }

func (failing) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (f failing) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if data.Err != nil {
		f.has.Store(true)
	}
}

// A check that took part in it would be the third of a dangerous structure: it reads where the producer then writes,
// which has read what another wrote that had committed before the check.
func TestAWaitFailsNoSerializableCommit(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE accounts (id int PRIMARY KEY, balance int); INSERT INTO accounts VALUES (1, 100)")
	long := committed(t, pool)
	through := withSetting(t, pool.Config().ConnString(), "default_transaction_isolation", "serializable")
	for _, l := range listenersOfEveryKind(t, through) {
		producer, other := begin(t, pool, serializable), begin(t, pool, serializable)
		query[int](t, producer, "SELECT balance FROM accounts WHERE id = 1")
		execute(t, other, "UPDATE accounts SET balance = 1 WHERE id = 1")
		commit(t, other)
		if _, err := l.Check(t.Context(), long); err != nil {
			t.Fatal(err)
		}
		sub := pending(t, l, create(t, producer))
		commit(t, producer)
		wantEnd(t, sub, nil)
	}
}

// The server refuses a check that runs in anything but READ COMMITTED.
func TestTheListenerChecksInReadCommittedWhateverTheDefault(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	disturbed(t, pool, "IF current_setting('transaction_isolation') <> 'read committed' THEN RAISE EXCEPTION 'one snapshot'; END IF")
	for _, level := range []string{"repeatable read", "serializable"} {
		l := run(t, open(t, withSetting(t, pool.Config().ConnString(), "default_transaction_isolation", level)), listener.Config{})
		tx := begin(t, pool)
		sub := pending(t, l, create(t, tx))
		rollback(t, tx)
		wantEnd(t, sub, pgbarrier.ErrAborted)
	}
}

// Every check takes longer than the pool's statements may.
func TestAStatementTimeoutOfThePoolEndsNoCheck(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	disturbed(t, pool, "PERFORM pg_sleep(0.3)")
	tx := begin(t, pool)
	token := create(t, tx)
	l := run(t, open(t, withSetting(t, pool.Config().ConnString(), "statement_timeout", "200")), listener.Config{})
	sub := l.Subscribe(token)
	defer sub.Close()
	commit(t, tx)
	wantEnd(t, sub, nil)
}
