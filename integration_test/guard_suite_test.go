package integration_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/listener"
)

// pollWaiter is a Waiter without WaitFunc, and without a listener.
type pollWaiter struct{ pool *pgxpool.Pool }

func (p pollWaiter) Wait(ctx context.Context, tokens ...pgbarrier.Token) error {
	return pgbarrier.Poll(ctx, p.pool, tokens...)
}

func (p pollWaiter) Check(ctx context.Context, tokens ...pgbarrier.Token) ([]pgbarrier.Status, error) {
	return pgbarrier.Check(ctx, p.pool, tokens...)
}

var (
	_ guard.FuncWaiter = (*listener.Listener)(nil)
	_ guard.Waiter     = pollWaiter{}
)

// suiteDatabase is a database for guardtest, with a listener.
func suiteDatabase(t *testing.T, url string) guardtest.Database {
	t.Helper()
	pool := open(t, url, func(c *pgxpool.Config) { c.MaxConns = 15 })
	migrate(t, pool)
	return guardtest.Database{Pool: pool, Waiter: run(t, pool, listener.Config{})}
}

func TestAnAdapterThatGivesBackPassesTheSuite(t *testing.T) {
	t.Parallel()
	db := suiteDatabase(t, server.DatabaseForTest(t))
	guardtest.Run(t, db, new(memoryBroker).adapter())
}

func TestAnAdapterThatHoldsPassesTheSuite(t *testing.T) {
	t.Parallel()
	db := suiteDatabase(t, server.DatabaseForTest(t))
	guardtest.Run(t, db, (&memoryBroker{holding: true}).adapter())
}

func TestAnAdapterWithAWaiterThatOnlyPollsPassesTheSuite(t *testing.T) {
	t.Parallel()
	db := suiteDatabase(t, server.DatabaseForTest(t))
	db.Waiter = pollWaiter{db.Pool}
	guardtest.Run(t, db, new(memoryBroker).adapter())
}

func TestAnAdapterOutlastsARestartOfTheDatabase(t *testing.T) {
	t.Parallel()
	own := devpg.ForTest(t)
	for _, holding := range []bool{false, true} {
		db := suiteDatabase(t, own.DatabaseForTest(t))
		db.Restart = own.Restart
		adapter := (&memoryBroker{holding: holding}).adapter()
		delete(adapter.Lacks, guardtest.DatabaseRestart)
		caseOf(t, "A restart of the database").Run(t, db, adapter)
	}
}

// caseOf returns the case whose name begins so.
func caseOf(t *testing.T, name string) guardtest.Case {
	t.Helper()
	for _, c := range guardtest.Cases() {
		if strings.HasPrefix(c.Name, name) {
			return c
		}
	}
	t.Fatalf("the suite has no case %q", name)
	return guardtest.Case{}
}

// What the suite is for. Each of its cases is failed by an adapter that is wrong there, and says why.
func TestTheSuiteNoticesWhatAnAdapterGetsWrong(t *testing.T) {
	t.Parallel()
	noticed := map[string]bool{}
	for _, test := range []struct {
		fault fault
		names string // beginnings of the case's name
		says  string
	}{
		{ignoreGuard, "A message runs once", "its transaction's row cannot be read"},
		{budgetOfHandler, "A message runs once", "context of a handler"},
		{dropAsFailure, "A message of a transaction that rolls back", "is among the dead letters"},
		{dropAgain, "A message of a transaction that rolls back", "they come again"},
		{oneBarrierPerTransaction, "A message of a savepoint", "the guard was asked"},
		{dropAsFailure, "A message of a killed producer", "is among the dead letters"},
		{ackBeforeHandling, "A message whose handler fails", "ran 1 times"},
		{oncePerBarrier, "Every message of a transaction", "each of 8 messages ran 1 times"},
		{firstBarrierOnly, "A message of two transactions", "ran 1 times, want 0"},
		{rejectMissing, "A message without a barrier runs", "each of 1 messages ran 1 times"},
		{runMissing, "A message without a barrier is rejected", "the message was rejected"},
		{runMalformed, "A malformed barrier", "the message was rejected"},
		{rejectAsDrop, "A malformed barrier", "not among the dead letters"},
		{rejectAsDrop, "A barrier of another database", "not among the dead letters"},
		{rejectAgain, "A barrier of another database", "not among the dead letters"},
		{rejectAsDrop, "An expired barrier", "not among the dead letters"},
		{burnAttempts, "A transaction longer than the budget", "each of 3 messages ran 1 times"},
		{burnAttempts, "A message that may be attempted once", "each of 1 messages ran 1 times"},
		{buryOnLastAttempt, "A message that may be attempted once", "each of 1 messages ran 1 times"},
		{buryOnLastAttempt, "A message that is pending on its last attempt", "each of 1 messages ran 1 times"},
		{dedupByBusiness, "The message of a transaction that is tried again", "each of 1 messages ran 1 times"},
		{noDedup, "The message of a transaction that is tried again", "ran 2 times"},
		{waitInWorker, "Messages of one long transaction", "messages that could run waited for others"},
		{neverHasten, "What was given back", "what was given back ran late"},
		{ackOnDelivery, "A killed worker", "messages ran 1 times"},
		{forgetAtRestart, "A restart of the broker", "messages ran 1 times"},
		{dropAsFailure, "A restart of the database", "is among the dead letters"},
		{loseAtStop, "A worker that is stopped", "messages ran 1 times"},
		{stopLate, "A worker that is stopped", "does not stop"},
		{runAtStop, "A worker that is stopped", "its transaction's row cannot be read"},
	} {
		c := caseOf(t, test.names)
		noticed[c.Name] = true
		t.Run(string(test.fault)+"/"+test.names, func(t *testing.T) {
			t.Parallel()
			adapter := (&memoryBroker{broken: test.fault}).adapter()
			adapter.Patience = 10 * time.Second
			on := server
			if test.names == "A restart of the database" {
				on = devpg.ForTest(t)
			}
			db := suiteDatabase(t, on.DatabaseForTest(t))
			db.Restart = on.Restart
			delete(adapter.Lacks, guardtest.DatabaseRestart)
			r := &recorder{TB: t}
			r.play(func() { c.Run(r, db, adapter) })
			if report := r.String(); !r.failed || !strings.Contains(report, test.says) {
				t.Errorf("the suite did not notice that %s; it said:\n%s", test.fault, report)
			}
		})
	}
	declared := caseOf(t, "What cannot be done is declared")
	noticed[declared.Name] = true
	t.Run("nothing is declared", func(t *testing.T) {
		adapter := new(memoryBroker).adapter()
		adapter.Restart, adapter.Lacks = nil, nil
		r := &recorder{TB: t}
		r.play(func() { declared.Run(r, suiteDatabase(t, server.DatabaseForTest(t)), adapter) })
		if report := r.String(); !strings.Contains(report, string(guardtest.BrokerRestart)) || !strings.Contains(report, string(guardtest.DatabaseRestart)) {
			t.Errorf("the suite did not notice what is not declared; it said:\n%s", report)
		}
		c := caseOf(t, "A restart of the broker")
		adapter.Lacks = map[guardtest.Feature]string{guardtest.BrokerRestart: "it has no state"}
		r = &recorder{TB: t}
		r.play(func() { c.Run(r, guardtest.Database{}, adapter) })
		if report := r.String(); !r.skipped || r.failed || !strings.Contains(report, "it has no state") {
			t.Errorf("what is declared was not skipped with its reason; it said:\n%s", report)
		}
	})
	for _, c := range guardtest.Cases() {
		if !noticed[c.Name] {
			t.Errorf("nobody has shown that the case %q can fail", c.Name)
		}
	}
}

// A recorder is the testing.TB of a case that is to fail.
type recorder struct {
	testing.TB

	mu              sync.Mutex
	failed, skipped bool
	said            strings.Builder
	cleanups        []func()
	ctx             context.Context
}

// play runs f as a test runs.
func (r *recorder) play(f func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r.ctx = ctx
	var done sync.WaitGroup
	done.Go(f) // in a goroutine that FailNow may end
	done.Wait()
	cancel()
	for len(r.cleanups) > 0 {
		last := r.cleanups[len(r.cleanups)-1]
		r.cleanups = r.cleanups[:len(r.cleanups)-1]
		done.Go(last)
		done.Wait()
	}
}

func (r *recorder) say(failed bool, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = r.failed || failed
	fmt.Fprintln(&r.said, text)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.String()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Context() context.Context     { return r.ctx }
func (r *recorder) Cleanup(f func())             { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Fail()                        { r.say(true, "failed") }
func (r *recorder) FailNow()                     { r.say(true, "failed"); runtime.Goexit() }
func (r *recorder) Error(args ...any)            { r.say(true, fmt.Sprintln(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.say(true, fmt.Sprintf(f, args...)) }
func (r *recorder) Fatal(args ...any)            { r.say(true, fmt.Sprintln(args...)); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) {
	r.say(true, fmt.Sprintf(f, args...))
	runtime.Goexit()
}
func (r *recorder) Log(args ...any)             { r.say(false, fmt.Sprintln(args...)) }
func (r *recorder) Logf(f string, args ...any)  { r.say(false, fmt.Sprintf(f, args...)) }
func (r *recorder) Skip(args ...any)            { r.skip(fmt.Sprintln(args...)) }
func (r *recorder) Skipf(f string, args ...any) { r.skip(fmt.Sprintf(f, args...)) }
func (r *recorder) SkipNow()                    { r.skip("skipped") }
func (r *recorder) skip(text string) {
	r.say(false, text)
	r.skipped = true
	runtime.Goexit()
}
