package integration_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/notify"
)

const waitInSQL = "SELECT pgbarrier.wait($1, '10 minutes')"

// waiting begins a wait in SQL on a session of its own, returns when it sleeps between two looks, and the session's pid.
func waiting(t testing.TB, pool *pgxpool.Pool, token pgbarrier.Token) (outcome <-chan string, pid uint32) {
	t.Helper()
	conn := connect(t, pool)
	ctx, cancel := context.WithCancel(context.Background())
	ended, returned := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(returned)
		var words string
		if err := conn.QueryRow(ctx, waitInSQL, token).Scan(&words); err != nil {
			words = err.Error()
		}
		ended <- words
	}()
	t.Cleanup(func() { // before the connection is closed
		cancel()
		<-returned
	})
	pid = conn.PgConn().PID()
	eventually(t, "the wait sleeps", func() bool {
		return query[bool](t, pool, "SELECT coalesce((SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1), false)", pid)
	})
	return ended, pid
}

func wantWords(t testing.TB, what string, outcome <-chan string, expected string) {
	t.Helper()
	select {
	case words := <-outcome:
		if words != expected {
			t.Errorf("%s: the wait returned %q, want %q", what, words, expected)
		}
	case <-time.After(patience):
		t.Fatalf("%s: the wait has not ended", what)
	}
}

func TestAWaitInSQLEndsWithItsTransaction(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE orders (id integer)")
	tx := begin(t, pool)
	execute(t, tx, "INSERT INTO orders VALUES (1)")
	good := create(t, tx)
	execute(t, tx, "SAVEPOINT s")
	lost := create(t, tx)
	execute(t, tx, "ROLLBACK TO SAVEPOINT s")
	other := begin(t, pool)
	bad := create(t, other)

	forGood, _ := waiting(t, pool, good)
	forLost, _ := waiting(t, pool, lost)
	forBad, _ := waiting(t, pool, bad)
	commit(t, tx)
	wantWords(t, "committed", forGood, "committed")
	if query[int](t, pool, "SELECT count(*) FROM orders") != 1 {
		t.Error("committed, and the update cannot be read")
	}
	wantWords(t, "rolled back to a savepoint", forLost, "aborted")
	rollback(t, other)
	wantWords(t, "rolled back", forBad, "aborted")
}

func TestAWaitInSQLHasTheWordsOfStatus(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	old := committed(t, pool)
	execute(t, pool, "TRUNCATE pgbarrier.barrier")
	for token, words := range map[string]string{
		old.String():                               "expired",
		committed(t, pool).String():                "committed",
		aborted(t, pool).String():                  "aborted",
		committed(t, migratedDatabase(t)).String(): "wrong database",
		"":                             "invalid",
		old.String() + " ":             "invalid",
		"'; DROP SCHEMA pgbarrier; --": "invalid",
	} {
		for _, sql := range []string{"SELECT pgbarrier.status($1)", "SELECT pgbarrier.wait($1)", waitInSQL} {
			if got := query[string](t, pool, sql, token); got != words {
				t.Errorf("%s of %q is %q, want %q", sql, token, got, words)
			}
		}
	}
	if got := query[string](t, pool, "SELECT pgbarrier.wait(NULL)"); got != "invalid" {
		t.Errorf("of null it is %q", got)
	}
}

func TestAWaitInSQLIsPendingWhenPatienceIsOver(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	token := create(t, tx)
	for _, patience := range []string{"0", "-1 second", "-178000000 years", "20 milliseconds"} {
		if got := query[string](t, pool, "SELECT pgbarrier.wait($1, $2::text::interval)", token, patience); got != "pending" {
			t.Errorf("after %s it is %q", patience, got)
		}
	}
	if _, err := pool.Exec(t.Context(), "SELECT pgbarrier.wait($1, NULL)", token); err == nil || !strings.Contains(err.Error(), "patience is null") {
		t.Errorf("without patience: %v", err)
	}
	huge := []string{"178000000 years", "1 year"}
	if server.Major() >= 17 {
		huge = append(huge, "infinity")
		if got := query[string](t, pool, "SELECT pgbarrier.wait($1, '-infinity')", token); got != "pending" {
			t.Errorf("after -infinity it is %q", got)
		}
	}
	ended := make(chan error, len(huge))
	for _, patience := range huge {
		go func() {
			var words string
			err := pool.QueryRow(context.Background(), "SELECT pgbarrier.wait($1, $2::text::interval)", token, patience).Scan(&words)
			if err == nil && words != "committed" {
				err = errors.New(patience + ": " + words)
			}
			ended <- err
		}()
	}
	eventually(t, "all of them sleep", func() bool {
		return query[int](t, pool, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'") == len(huge)
	})
	commit(t, tx)
	for range huge {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// A lock of the barrier table, kept for as long as the wait, would hold up a TRUNCATE, and behind that all producers.
func TestAWaitInSQLHoldsNoLockAndHasNoTransactionID(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	producer := begin(t, pool)
	execute(t, producer, "SELECT pg_current_xact_id(); SAVEPOINT s")
	token := create(t, producer)
	execute(t, producer, "ROLLBACK TO SAVEPOINT s") // pending still, and the producer has no lock either
	elsewhere := connect(t, pool)
	_, pid := waiting(t, pool, token)
	execute(t, elsewhere, "SET lock_timeout = '10s'")
	eventually(t, "it sleeps without a lock", func() bool {
		return query[bool](t, elsewhere, `SELECT NOT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND relation IS NOT NULL)
			AND (SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1)`, pid)
	})
	if query[bool](t, elsewhere, "SELECT backend_xid IS NOT NULL FROM pg_stat_activity WHERE pid = $1", pid) {
		t.Error("it has a transaction id")
	}
	// Kept until the wait ends, the locks would never be given.
	execute(t, elsewhere, "BEGIN; LOCK TABLE pgbarrier.origin IN ACCESS EXCLUSIVE MODE; ROLLBACK")

	tx := begin(t, pool)
	if got := query[string](t, tx, "SELECT pgbarrier.wait($1, '20 milliseconds')", token); got != "pending" {
		t.Errorf("it is %q", got)
	}
	if query[bool](t, tx, "SELECT pg_current_xact_id_if_assigned() IS NOT NULL") {
		t.Error("the wait had a transaction id assigned")
	}
	if held := query[int](t, tx, "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('pgbarrier.barrier'::regclass, 'pgbarrier.origin'::regclass)"); held > 0 {
		t.Errorf("%d locks are held after the wait", held)
	}
}

// In its one snapshot nothing would ever end.
func TestAWaitInSQLIsRefusedInATransactionWithOneSnapshot(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	for _, options := range []pgx.TxOptions{repeatableRead, serializable} {
		_, err := begin(t, pool, options).Exec(t.Context(), "SELECT pgbarrier.wait($1, '10 minutes')", token)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "25000" || !strings.Contains(refused.Message, strings.ToUpper(string(options.IsoLevel))) {
			t.Errorf("in %s: %v", options.IsoLevel, err)
		}
	}
	if got := query[string](t, begin(t, pool, readCommitted), waitInSQL, token); got != "committed" {
		t.Errorf("in READ COMMITTED it is %q", got)
	}
}

// An error would end the producer's transaction, and to wait would be of no use.
func TestAWaitInSQLForItsOwnTransactionIsPendingAtOnce(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	token := create(t, tx)
	if got := query[string](t, tx, waitInSQL, token); got != "pending" {
		t.Errorf("it is %q", got)
	}
	commit(t, tx)
	want(t, pool, pgbarrier.Committed, token)
}

func TestAWaitInSQLEndsWithTheStatementsTimeout(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := create(t, begin(t, pool))
	conn := connect(t, pool)
	execute(t, conn, "SET statement_timeout = '50ms'")
	_, err := conn.Exec(t.Context(), waitInSQL, token)
	var cancelled *pgconn.PgError
	if !errors.As(err, &cancelled) || cancelled.Code != "57014" {
		t.Errorf("the error is %v", err)
	}
	_, pid := waiting(t, pool, token)
	execute(t, pool, "SELECT pg_cancel_backend($1)", pid)
	eventually(t, "it has ended", func() bool {
		return query[bool](t, pool, "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $1", pid)
	})
}

// Hardened servers take pg_sleep from everybody.
func TestAWaitInSQLSaysThatItsOwnerMayNotSleep(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	owner := newRole(t, pool)
	execute(t, pool, "GRANT CREATE ON DATABASE "+pool.Config().ConnConfig.Database+" TO "+owner)
	execute(t, pool, "REVOKE EXECUTE ON FUNCTION pg_sleep(double precision) FROM PUBLIC")
	owners := as(t, pool, owner)
	migrate(t, owners)
	token := committed(t, owners)
	_, err := owners.Exec(t.Context(), "SELECT pgbarrier.wait($1)", token)
	var denied *pgconn.PgError
	if !errors.As(err, &denied) || denied.Code != "42501" || !strings.Contains(denied.Hint, "GRANT EXECUTE") {
		t.Fatalf("the error is %v", err)
	}
	if got := query[string](t, owners, "SELECT pgbarrier.wait($1, '0')", token); got != "committed" {
		t.Errorf("a look is %q", got)
	}
	execute(t, pool, denied.Hint)
	if got := query[string](t, owners, "SELECT pgbarrier.wait($1)", token); got != "committed" {
		t.Errorf("with the grant it is %q", got)
	}
}

func TestAWaitInSQLOnAStandbyIsRefusedAndEndsRightAfterACrash(t *testing.T) {
	t.Parallel()
	s := devpg.ForTest(t)
	pool := open(t, s.URL())
	migrate(t, pool)
	good, lost := committed(t, pool), create(t, begin(t, pool))
	standbyServer, err := s.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standbyServer.Close() })
	standby := open(t, standbyServer.URL())
	for _, token := range []pgbarrier.Token{good, lost} {
		_, err := standby.Exec(t.Context(), waitInSQL, token)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "25006" {
			t.Errorf("the standby's error is %v", err)
		}
	}
	_, _ = waiting(t, pool, lost)
	crash(t, s)
	if err := standbyServer.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	for token, words := range map[pgbarrier.Token]string{good: "committed", lost: "aborted"} {
		if got := query[string](t, standby, waitInSQL, token); got != words {
			t.Errorf("after the promotion it is %q, want %q", got, words)
		}
	}
}

// Under load, and whatever the producers do, no wait ever tells anything but the truth.
func TestWaitsInSQLTellTheTruthUnderLoad(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE orders (token text PRIMARY KEY)")
	const workers, each = 6, 20
	errs := make(chan error, workers)
	for range workers {
		go func() {
			errs <- func() error {
				ctx := context.Background()
				for i := range each {
					tx, err := pool.Begin(ctx)
					if err != nil {
						return err
					}
					token, err := notify.Create(ctx, tx)
					if err == nil {
						_, err = tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", token)
					}
					if err != nil {
						return err
					}
					ended := make(chan error, 1)
					go func() {
						if i%2 == 0 {
							ended <- tx.Commit(ctx)
						} else {
							ended <- tx.Rollback(ctx)
						}
					}()
					var words string
					if err := pool.QueryRow(ctx, waitInSQL, token).Scan(&words); err != nil {
						return err
					}
					var there bool
					if err := pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM orders WHERE token = $1)", token).Scan(&there); err != nil {
						return err
					}
					if there != (i%2 == 0) || words != map[bool]string{true: "committed", false: "aborted"}[there] {
						return errors.New("the wait said " + words)
					}
					if err := <-ended; err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
