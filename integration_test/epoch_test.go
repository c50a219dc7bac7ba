package integration_test

import (
	"context"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
)

// Waits for several tokens, of which one had committed, and been found, when a crash undid it, and nothing
// tells of the crash but that a question is answered after it.

// crashTakes returns when the server is back, the commit is known to be lost, and p is committed.
func crashTakes(t *testing.T, s *devpg.Server, pool *pgxpool.Pool, taken pgbarrier.Token) {
	t.Helper()
	crash(t, s)
	restart(t, s, pool)
	eventually(t, "the commit is known to be lost", func() bool { return query[string](t, pool, "SELECT pgbarrier.status($1)", taken) == "aborted" })
	execute(t, pool, "COMMIT PREPARED 'p'")
}

// The check's connection was lost before it asked, and the crash comes before it asks again. The session that
// listens is half-open and tells of nothing.
func TestAWaitForSeveralIsNotFooledByACheckThatWasTriedAgain(t *testing.T) {
	t.Parallel()
	s, pool := crashable(t)
	listening, listenURL := badNetwork(t, s.URL())
	checking, checkURL := badNetwork(t, s.URL())
	var armed atomic.Bool
	again, goOn := make(chan struct{}), make(chan struct{})
	checkPort := portOf(t, checkURL)
	l := run(t, open(t, checkURL, func(c *pgxpool.Config) {
		c.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
			if c.Port == checkPort && armed.CompareAndSwap(true, false) {
				close(again)
				select {
				case <-goOn:
				case <-ctx.Done():
				}
			}
			return nil
		}
	}), listener.Config{ListenConnString: listenURL, Heartbeat: time.Minute})
	prepared := prepare(t, pool, "p") // flushes, so it comes first
	tx := begin(t, pool)
	execute(t, tx, "SET LOCAL synchronous_commit = off")
	taken := create(t, tx)
	sub := pending(t, l, taken, prepared)
	commit(t, tx)
	wait(t, l, nil, taken)
	armed.Store(true)
	checking.Cut()
	<-again
	listening.Refuse(true)
	listening.Swallow(0)
	crashTakes(t, s, pool, taken)
	close(goOn)
	wantEnd(t, sub, pgbarrier.ErrAborted)
}

func portOf(t *testing.T, connString string) uint16 {
	t.Helper()
	u, err := url.Parse(connString)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(port)
}

// A check asks first for what is new, and by its snapshot for what has ended. PgBouncer keeps the check's
// connection over a crash between the two.
func TestAWaitForSeveralIsNotFooledByACrashWithinACheckBehindPgBouncer(t *testing.T) {
	t.Parallel()
	s, pool := crashable(t)
	through := throughPgBouncer(t, pool)
	var holding, halting atomic.Bool
	held, goOn := make(chan struct{}), make(chan struct{})
	within, goOnWithin := make(chan struct{}), make(chan struct{})
	l := run(t, through, listener.Config{PollOnly: true, Trace: listener.Trace{
		Checked: func(listener.Checked) {
			if holding.CompareAndSwap(true, false) {
				close(held)
				<-goOn
			}
		},
		Resolved: func(listener.Resolved) {
			if halting.CompareAndSwap(true, false) {
				close(within)
				<-goOnWithin
			}
		},
	}})
	conn := connect(t, pool)
	execute(t, conn, "BEGIN")
	many := createMany(t, conn, 1100) // more than are simply asked for each time
	execute(t, conn, "PREPARE TRANSACTION 'many'")
	pending(t, l, many...)
	prepared := prepare(t, pool, "p")
	pending(t, l, prepared)
	tx := begin(t, pool)
	execute(t, tx, "SET LOCAL synchronous_commit = off")
	taken := create(t, tx)
	holding.Store(true)
	<-held // no check from here on
	execute(t, pool, "COMMIT PREPARED 'p'")
	commit(t, tx)
	sub := l.Subscribe(taken, prepared)
	defer sub.Close()
	halting.Store(true)
	close(goOn)
	<-within // taken was found
	crash(t, s)
	restart(t, s, pool)
	eventually(t, "the commit is known to be lost", func() bool { return query[string](t, pool, "SELECT pgbarrier.status($1)", taken) == "aborted" })
	close(goOnWithin)
	wantEnd(t, sub, pgbarrier.ErrAborted)
}

// after calls f when the first query has been answered.
type after struct {
	once sync.Once
	f    func()
}

func (a *after) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (a *after) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) { a.once.Do(a.f) }

// 10,000 tokens are a statement of Check. The last of them is the 10,001st.
func TestAPollForVeryManyIsNotFooledByACrashAfterItsFirstStatement(t *testing.T) {
	t.Parallel()
	s, pool := crashable(t)
	prepared := prepare(t, pool, "p")
	tx := begin(t, pool)
	execute(t, tx, "SET LOCAL synchronous_commit = off")
	tokens := append(createMany(t, tx, 10_000), prepared)
	commit(t, tx)
	var polling *pgxpool.Pool
	crashes := after{f: func() {
		crashTakes(t, s, pool, tokens[0])
		polling.Reset() // a pool that finds its connections dead would make the poll ask for all again
	}}
	polling = open(t, s.URL(), func(c *pgxpool.Config) { c.ConnConfig.Tracer = &crashes })
	wantErr(t, "Poll", pgbarrier.Poll(t.Context(), polling, tokens...), pgbarrier.ErrAborted)
}
