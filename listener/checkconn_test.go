package listener

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier/internal/dial"
)

// A crash may be noticed by the check connection first. That the statement is tried again must not hide it.
func TestACheckConnectionThatWasLostMakesTheListenerForgetWhatItHeard(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			accepted <- conn
			go servePings(conn)
		}
	}()
	p, err := pgxpool.New(t.Context(), fmt.Sprintf("postgres://nobody@%s/?sslmode=disable", server.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l, err := New(p, Config{PollOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.conn.drop()
	ping := func() {
		t.Helper()
		err := l.conn.do(t.Context(), func(ctx context.Context, conn *pgx.Conn) error { return conn.Ping(ctx) })
		if err != nil {
			t.Error(err)
		}
	}
	ping()
	listening(l.waits, true) // as if a session were there that has not noticed
	a := token(t, 7)
	hear(l.waits, a)
	ping()
	if sub := l.Subscribe(a); !ended(sub) {
		t.Error("forgot though the connection is up")
	}
	(<-accepted).Close()
	ping() // on a new connection
	sub := l.Subscribe(a)
	defer sub.Close()
	if ended(sub) {
		t.Error("believed what was known before the connection was lost")
	}
}

// servePings is as much of a server as conn.Ping needs.
func servePings(conn net.Conn) { serve(conn, &pgproto3.EmptyQueryResponse{}) }

// serve answers everything the same.
func serve(conn net.Conn, answer pgproto3.BackendMessage) {
	defer conn.Close()
	backend := pgproto3.NewBackend(conn, conn)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	for {
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if backend.Flush() != nil {
			return
		}
		if _, err := backend.Receive(); err != nil {
			return
		}
		backend.Send(answer)
	}
}

// A session that did not tell of its defaults, canceled while it was asked, say, is not used as if they were harmless.
func TestASessionThatDidNotTellItsDefaultsIsReplaced(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for first := true; ; first = false {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			if first {
				go serve(conn, &pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014", Message: "canceled"})
			} else {
				go servePings(conn)
			}
		}
	}()
	config, err := pgxpool.ParseConfig(fmt.Sprintf("postgres://nobody@%s/?sslmode=disable", server.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	q := newCheckConn(dial.Dialer{Pool: config}, func() {})
	defer q.drop()
	ping := func() error {
		return q.do(t.Context(), func(ctx context.Context, conn *pgx.Conn) error { return conn.Ping(ctx) })
	}
	if err := ping(); err == nil {
		t.Error("the statement ran though the session did not tell")
	}
	if err := ping(); err != nil {
		t.Errorf("on another session: %v", err)
	}
}

// A dead connection is given up after the first timeout; a server that is slow is given more time, until it
// is fast again.
func TestStatementsOfASlowServerGetMoreTime(t *testing.T) {
	timeout := firstTimeout
	for _, took := range []time.Duration{firstTimeout, 2 * firstTimeout, 4 * firstTimeout, 8 * firstTimeout} {
		if timeout > took {
			t.Fatalf("a statement that timed out after %v before gets %v", took, timeout)
		}
		timeout = nextTimeout(timeout, timeout)
	}
	if timeout != queryTimeout {
		t.Errorf("a statement of a server that always takes too long gets %v", timeout)
	}
	if kept := nextTimeout(timeout, timeout/4); kept != timeout {
		t.Errorf("after one that took %v of %v the next gets %v", timeout/4, timeout, kept)
	}
	for range 10 {
		timeout = nextTimeout(timeout, time.Millisecond)
	}
	if timeout != firstTimeout {
		t.Errorf("a statement of a server that is fast again gets %v", timeout)
	}
}
