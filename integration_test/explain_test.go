package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// explained is what db says of the token. The outcome must be the one that status has.
func explained(t testing.TB, db pgbarrier.DB, token string) pgbarrier.Explanation {
	t.Helper()
	e, err := pgbarrier.Explain(t.Context(), db, token)
	if err != nil {
		t.Fatal(err)
	}
	if e.Reasons[0].About != e.Status.String() || !json.Valid(e.Reasons[0].Facts) || e.Reasons[len(e.Reasons)-1].About != "next" {
		t.Fatalf("status %v is explained so:\n%v", e.Status, e)
	}
	return e
}

// wantReasons fails the test unless each of the reasons, such as "producer: idle in transaction", is there.
func wantReasons(t testing.TB, e pgbarrier.Explanation, reasons ...string) {
	t.Helper()
	for _, reason := range reasons {
		if about, words, _ := strings.Cut(reason, ": "); !says(e, about, words) {
			t.Errorf("nothing says %q:\n%v", reason, e)
		}
	}
}

func says(e pgbarrier.Explanation, about, words string) bool {
	for _, r := range e.Reasons {
		if r.About == about && strings.Contains(r.Says, words) {
			return true
		}
	}
	return false
}

// inBackground sends a statement whose end is waited for when the test ends.
func inBackground(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = conn.Exec(ctx, sql) // it is canceled
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = conn.Close(context.Background())
		<-conn.PgConn().CleanupDone()
	})
}

func named(application string) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["application_name"] = application }
}

func TestAnOutcomeIsExplainedByItsProof(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	foreign := committed(t, migratedDatabase(t))
	garbled := committed(t, pool)
	garbled.XID--
	never := aborted(t, pool)
	never.XID = 1<<62 + 7
	for _, test := range []struct {
		token   pgbarrier.Token
		status  pgbarrier.Status
		reasons []string
	}{
		{committed(t, pool), pgbarrier.Committed, []string{"committed: the barrier's row is there", "barrier: created 20", "next: run the work"}},
		{aborted(t, pool), pgbarrier.Aborted, []string{"aborted: was rolled back, or ended with its session or in a crash", "next: drop the work"}},
		{lostAtSavepoint(t, pool), pgbarrier.Aborted, []string{"aborted: rolled back to a savepoint"}},
		{never, pgbarrier.Aborted, []string{"aborted: its number has not been given out again"}},
		{foreign, pgbarrier.WrongDatabase, []string{"wrong database: a database that is unknown here", fmt.Sprintf("wrong database: its origin is %08x", foreign.Origin)}},
		{garbled, pgbarrier.Invalid, []string{"invalid: of another transaction"}},
	} {
		e := explained(t, pool, test.token.String())
		if e.Status != test.status {
			t.Errorf("%v is explained so:\n%v", test.status, e)
		}
		wantReasons(t, e, test.reasons...)
		if status := query[string](t, pool, "SELECT pgbarrier.status($1)", test.token); status != e.Status.String() {
			t.Errorf("status is %s, explained is %v", status, e.Status)
		}
	}
}

func TestWhatIsNoTokenIsExplained(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool).String()
	parts := strings.Split(token, ".")
	with := func(i int, part string) string {
		changed := append([]string{}, parts...)
		changed[i] = part
		return strings.Join(changed, ".")
	}
	for text, why := range map[string]string{
		"":                                     "it is empty",
		"\x00\xff☃":                            "does not start with pgb1.",
		strings.Repeat("x", 100_000):           "it has 100000 characters",
		with(0, "pgb2"):                        "does not start with pgb1.",
		token[:len(token)-9]:                   "not the four parts",
		token[:len(token)-3]:                   "its origin is not",
		strings.ToUpper(token):                 "does not start with pgb1.",
		with(1, strings.ToUpper(parts[1])):     "its id is not",
		with(1, "0000"):                        "its id is not",
		with(2, "0"):                           "its transaction id is not",
		with(2, "007"):                         "its transaction id is not",
		with(2, "9223372036854775808"):         "its transaction id is not",
		with(2, "2"):                           "the transaction id cannot be one",
		with(3, strings.ToUpper("abcdefab")):   "its origin is not",
		token + "\n":                           "its origin is not",
		strings.Replace(token, ".", "\n.", 1):  "does not start with pgb1.",
		token + ".":                            "not the four parts",
		with(2, strings.Repeat("9", 19)) + "x": "it has 71 characters",
	} {
		e := explained(t, pool, text)
		if _, err := pgbarrier.ParseToken(text); e.Status != pgbarrier.Invalid || err == nil && !strings.Contains(why, "cannot be one") {
			t.Errorf("%.80q is explained so (%v):\n%v", text, err, e)
		}
		wantReasons(t, e, "invalid: "+why)
	}
}

func TestAPendingBarrierIsExplainedByItsProducer(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	url := pool.Config().ConnString()

	idle := connect(t, open(t, url, named("orders")))
	token := create(t, begin(t, idle)).String()
	execute(t, idle, "SELECT 'the last\nstatement'")
	pid := idle.PgConn().PID()
	e := explained(t, pool, token)
	if e.Status != pgbarrier.Pending {
		t.Errorf("it is %v", e.Status)
	}
	wantReasons(t, e, "pending: has not ended", fmt.Sprintf("producer: pid %d, idle in transaction for 0", pid), "producer: application \"orders\"",
		"producer: client ", "producer: last statement: SELECT 'the last statement'", fmt.Sprintf("next: pg_terminate_backend(%d)", pid))
	var facts struct {
		PID              int
		State, Statement string
		Since            time.Time
	}
	if err := json.Unmarshal(e.Reasons[2].Facts, &facts); err != nil || facts.PID != int(pid) || facts.State != "idle in transaction" || time.Since(facts.Since) > time.Hour {
		t.Errorf("the facts are %s (%v)", e.Reasons[2].Facts, err)
	}
	// The transaction's own question.
	wantReasons(t, explained(t, idle, token), "producer: this session", "next: outside of the transaction")

	// A subtransaction's barrier has the xid that its session shows.
	tx := begin(t, connect(t, pool))
	execute(t, tx, "SAVEPOINT s")
	wantReasons(t, explained(t, pool, create(t, tx).String()), fmt.Sprintf("producer: pid %d, idle in transaction", tx.Conn().PgConn().PID()))

	active := connect(t, pool)
	token = create(t, begin(t, active)).String()
	inBackground(t, active, "SELECT pg_sleep(600)")
	eventually(t, "the producer is active", func() bool {
		return says(explained(t, pool, token), "producer", "statement: SELECT pg_sleep(600)")
	})
	wantReasons(t, explained(t, pool, token), "producer: active for ", "next: it is working")

	prepared := begin(t, pool)
	token = createUnannounced(t, prepared).String()
	gid := "it's " + token
	execute(t, prepared, "PREPARE TRANSACTION '"+strings.ReplaceAll(gid, "'", "''")+"'")
	e = explained(t, pool, token)
	wantReasons(t, e, "producer: prepared transaction 'it''s "+token, "next: ROLLBACK PREPARED 'it''s "+token)
	execute(t, pool, "ROLLBACK PREPARED '"+strings.ReplaceAll(gid, "'", "''")+"'")
	wantReasons(t, explained(t, pool, token), "aborted: was rolled back")
}

func TestAPendingBarrierIsExplainedByWhoBlocksItsProducer(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	execute(t, pool, "CREATE TABLE stock (id integer PRIMARY KEY); INSERT INTO stock VALUES (1), (2), (3)")
	lock := func(conn *pgx.Conn, id int) string {
		return fmt.Sprintf("SELECT FROM stock WHERE id = %d FOR UPDATE", id)
	}
	pid := func(conn *pgx.Conn) uint32 { return conn.PgConn().PID() }
	head, middle, producer := connect(t, pool), connect(t, pool), connect(t, pool)
	for id, conn := range []*pgx.Conn{1: head, 2: middle} {
		if conn != nil {
			execute(t, begin(t, conn), lock(conn, id))
		}
	}
	token := create(t, begin(t, producer)).String()
	inBackground(t, middle, lock(middle, 1))
	inBackground(t, producer, lock(producer, 2))
	eventually(t, "both wait", func() bool {
		e := explained(t, pool, token)
		return says(e, "producer", "blocked by pid") && says(e, "blocked by", "blocked by pid")
	})
	wantReasons(t, explained(t, pool, token), fmt.Sprintf("producer: pid %d, active", pid(producer)), fmt.Sprintf("producer: blocked by pid %d", pid(middle)),
		fmt.Sprintf("blocked by: pid %d, active", pid(middle)), fmt.Sprintf("blocked by: blocked by pid %d", pid(head)),
		fmt.Sprintf("blocked by: pid %d, idle in transaction", pid(head)), fmt.Sprintf("next: pid %d is whom the others wait for", pid(head)),
		fmt.Sprintf("next: pg_terminate_backend(%d)", pid(head)))

	// A prepared transaction at the end of the chain.
	execute(t, head, "PREPARE TRANSACTION 'holds "+token+"'")
	wantReasons(t, explained(t, pool, token), "blocked by: prepared transaction 'holds "+token, "next: pg_prepared_xacts")
	execute(t, pool, "ROLLBACK PREPARED 'holds "+token+"'")
}

// pg_stat_activity decides what is shown, with the rights of whoever asks.
func TestARoleIsToldOfAProducerWhatItMaySee(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	role := newRole(t, pool)
	grant(t, pool, "whoever asks why", role)
	asks := as(t, pool, role)
	producer := connect(t, open(t, pool.Config().ConnString(), named("orders")))
	token := create(t, begin(t, producer)).String()
	execute(t, producer, "SELECT 'a secret'")

	e := explained(t, asks, token)
	wantReasons(t, e, fmt.Sprintf("producer: pid %d, role ", producer.PgConn().PID()), "producer: application \"orders\"", "not shown: to role "+role, "next: pg_read_all_stats")
	for _, hidden := range []string{"secret", "idle", "insufficient", "client "} {
		if all := fmt.Sprint(e) + string(e.Reasons[2].Facts); strings.Contains(strings.ReplaceAll(all, "state, client and", ""), hidden) {
			t.Errorf("%q is shown to a role that may not see it:\n%s", hidden, all)
		}
	}
	execute(t, pool, "GRANT pg_read_all_stats TO "+role)
	wantReasons(t, explained(t, asks, token), "producer: last statement: SELECT 'a secret'", "producer: idle in transaction")
	execute(t, pool, "REVOKE pg_read_all_stats FROM "+role)
}

func TestAnExpiredBarrierIsExplainedByWhatWasPurged(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	purgeAll(t, pool)
	wantReasons(t, explained(t, pool, token.String()), fmt.Sprintf("expired: up to %d may be gone", token.XID), "expired: no barrier is kept", "next: decide by the data")
	committed(t, pool)
	wantReasons(t, explained(t, pool, token.String()), "expired: the oldest barrier that is kept is 00:0")

	// Rows and mark are gone in a way that nobody noticed.
	execute(t, pool, "ALTER TABLE pgbarrier.barrier DISABLE TRIGGER ALL; DELETE FROM pgbarrier.barrier")
	wantReasons(t, explained(t, pool, token.String()), "expired: the database has no mark")
}

// A database made from a template keeps its seed: then its name can be told.
func TestATokenOfATemplateNamesIt(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	original := pool.Config().ConnConfig.Database
	pool.Close()
	copied := open(t, server.DatabaseForTest(t))
	admin := connect(t, copied)
	execute(t, admin, "CREATE DATABASE "+original+"_copy TEMPLATE "+original)
	t.Cleanup(func() {
		conn := connectURL(t, copied.Config().ConnString())
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), "DROP DATABASE "+original+"_copy WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	config := copied.Config().ConnConfig
	config.Database = original + "_copy"
	twin, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer twin.Close(context.Background())
	wantReasons(t, explained(t, twin, token.String()), "wrong database: it was made in database "+original, "next: in database "+original)
}

func connectURL(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// The reasons that a whole server has.
func TestACrashAStandbyAndAMissingOneAreExplained(t *testing.T) {
	t.Parallel()
	s := devpg.ForTest(t, devpg.Config{Settings: map[string]string{"synchronous_standby_names": "nobody", "synchronous_commit": "local", "track_commit_timestamp": "on"}})
	pool := open(t, s.URL())
	migrate(t, pool)

	producer := connect(t, pool)
	token := create(t, begin(t, producer)).String()
	execute(t, producer, "SET LOCAL synchronous_commit = on")
	inBackground(t, producer, "COMMIT")
	eventually(t, "the producer waits for a standby", func() bool {
		return says(explained(t, pool, token), "producer", "waiting for a synchronous standby")
	})
	wantReasons(t, explained(t, pool, token), "pending: has not ended", "producer: statement: COMMIT", "next: synchronous_standby_names")
	execute(t, pool, "ALTER SYSTEM SET synchronous_standby_names = ''")
	execute(t, pool, "SELECT pg_reload_conf()")
	eventually(t, "it has committed", func() bool { return explained(t, pool, token).Status == pgbarrier.Committed })

	purged := committed(t, pool).String()
	purgeAll(t, pool)
	wantReasons(t, explained(t, pool, purged), "expired: may be gone, since 20")
	good := committed(t, pool).String()
	if e := explained(t, pool, good); !strings.Contains(string(e.Reasons[0].Facts), `"committed": "20`) {
		t.Errorf("when it was committed is not told: %s", e.Reasons[0].Facts)
	}

	standbyServer, err := s.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standbyServer.Close() })
	standby := open(t, standbyServer.URL())
	running := create(t, begin(t, connect(t, pool))).String()
	eventually(t, "the commit is replayed", func() bool { return explained(t, standby, good).Status == pgbarrier.Committed })
	wantReasons(t, explained(t, standby, good), "standby: this server is one")
	e := explained(t, standby, running)
	wantReasons(t, e, "pending: on this standby", "standby: this server is one", "next: ask the primary")
	if says(e, "producer", "") {
		t.Errorf("a standby tells of a producer:\n%v", e)
	}

	committed(t, pool) // takes what was logged before to the disk
	crash(t, s)
	restart(t, s, pool)
	wantReasons(t, explained(t, pool, running), "aborted: in a crash; the server was started after that, at 20")
}

// As Check does, where a session's default is of no use.
func TestExplainingWorksWhateverTheSessionsDefaults(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool).String()
	for _, isolation := range []string{"read committed", "repeatable read", "serializable"} {
		for _, readOnly := range []string{"on", "off"} {
			url := withSetting(t, withSetting(t, pool.Config().ConnString(), "default_transaction_isolation", isolation), "default_transaction_read_only", readOnly)
			impatient := open(t, url, func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
			for _, db := range []pgbarrier.DB{open(t, url), connect(t, impatient)} {
				wantReasons(t, explained(t, db, token), "committed: row is there")
			}
		}
	}
	// What ended after a transaction's one snapshot is pending in it.
	producer := begin(t, pool)
	token = create(t, producer).String()
	tx := begin(t, pool, repeatableRead)
	execute(t, tx, "SELECT 1")
	commit(t, producer)
	wantReasons(t, explained(t, tx, token), "pending: has not ended", "producer: still has the snapshot of before")
}
