package relayhttp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
	"github.com/pgbarrier/pgbarrier/relay"
)

// The promises of README.md, through a relay and HTTP, against a real server.

// A service is a relay for real databases.
type service struct {
	relay *relay.Relay
	url   string
}

func newService(t *testing.T, pools ...*pgxpool.Pool) *service {
	t.Helper()
	config := relay.Config{}
	for _, pool := range pools {
		l, err := listener.New(pool, listener.Config{})
		must(t, err)
		config.Databases = append(config.Databases, l)
	}
	r, err := relay.New(config)
	must(t, err)
	runRelay(t, r)
	h, err := NewHandler(r, ServerConfig{})
	must(t, err)
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &service{r, s.URL}
}

// open returns a pool of a migrated database.
func open(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	must(t, err)
	t.Cleanup(pool.Close)
	must(t, pgbarrier.Migrate(t.Context(), pool))
	return pool
}

// A producer is an open transaction with a barrier.
func producer(t *testing.T, pool *pgxpool.Pool) (pgx.Tx, pgbarrier.Token) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	token, err := notify.Create(t.Context(), tx)
	must(t, err)
	return tx, token
}

func execute(t *testing.T, db pgbarrier.DB, sql string, args ...any) {
	t.Helper()
	_, err := db.Exec(t.Context(), sql, args...)
	must(t, err)
}

// A verdict is how a wait ended, in the words of status, by curl's way or the client's.
type ended struct {
	way   string
	words string
}

// everyWay waits for the tokens with the client and by GET, and by a GET again and again while it is pending.
func (s *service) everyWay(t *testing.T, c *Client, tokens ...pgbarrier.Token) <-chan ended {
	t.Helper()
	all := make(chan ended, 2)
	go func() { all <- ended{"client", wordsOf(c.Wait(context.Background(), tokens...))} }()
	path := ""
	for _, token := range tokens {
		path += "," + token.String()
	}
	go func() {
		for {
			r, err := http.Get(s.url + barriersPath + path[1:] + "?wait=20s")
			if err != nil {
				all <- ended{"GET", err.Error()}
				return
			}
			var a answer
			err = json.NewDecoder(r.Body).Decode(&a)
			r.Body.Close()
			if status, known := statusOf(a.Outcome); err != nil || known && codes[status] != r.StatusCode {
				a.Outcome = fmt.Sprint(r.Status, a, err)
			}
			if r.StatusCode != http.StatusServiceUnavailable {
				all <- ended{"GET", a.Outcome + a.Error}
				return
			}
			time.Sleep(20 * time.Millisecond) // a relay that stops would be asked without a pause
		}
	}()
	return all
}

func wordsOf(err error) string {
	status, _, err := verdict(err)
	if err != nil {
		return err.Error()
	}
	return status.String()
}

func wantEnded(t *testing.T, what string, all <-chan ended, words string) {
	t.Helper()
	for range 2 {
		select {
		case e := <-all:
			if e.words != words {
				t.Errorf("%s: the wait by %s ended with %q, want %q", what, e.way, e.words, words)
			}
		case <-time.After(patience):
			t.Fatalf("%s: a wait has not ended", what)
		}
	}
}

func TestPromisesThroughHTTP(t *testing.T) {
	t.Parallel()
	pool := open(t, server.DatabaseForTest(t))
	second := open(t, server.DatabaseForTest(t))
	execute(t, pool, "CREATE TABLE orders (id integer)")
	s := newService(t, pool, second)
	c := newClient(t, nil, s.url)

	tx, good := producer(t, pool)
	execute(t, tx, "INSERT INTO orders VALUES (1)")
	execute(t, tx, "SAVEPOINT s")
	lost, err := notify.Create(t.Context(), tx)
	must(t, err)
	execute(t, tx, "ROLLBACK TO SAVEPOINT s")
	tx2, bad := producer(t, pool)
	tx3, third := producer(t, pool)
	tx4, elsewhere := producer(t, second)
	forGood, forLost, forBad := s.everyWay(t, c, good), s.everyWay(t, c, lost), s.everyWay(t, c, bad)
	forBoth, forOneBad, forElsewhere := s.everyWay(t, c, good, third), s.everyWay(t, c, third, bad), s.everyWay(t, c, elsewhere)
	eventually(t, "all are waited for", func() bool { return s.relay.Stats().Tokens == 16 })
	statuses, err := c.Check(t.Context(), good, lost, bad, third, elsewhere)
	for _, status := range statuses {
		if status != pgbarrier.Pending {
			t.Errorf("before all ends the statuses are %v, %v", statuses, err)
		}
	}
	must(t, err)

	must(t, tx.Commit(t.Context()))
	wantEnded(t, "COMMIT", forGood, "committed")
	var rows int
	must(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM orders").Scan(&rows))
	if rows != 1 {
		t.Error("committed, and the update cannot be read")
	}
	wantEnded(t, "ROLLBACK TO SAVEPOINT, COMMIT", forLost, "aborted")
	must(t, tx2.Rollback(t.Context()))
	wantEnded(t, "ROLLBACK", forBad, "aborted")
	wantEnded(t, "one of two ROLLBACK", forOneBad, "aborted")
	must(t, tx3.Commit(t.Context()))
	wantEnded(t, "two COMMIT", forBoth, "committed")
	must(t, tx4.Commit(t.Context()))
	wantEnded(t, "another database that is served", forElsewhere, "committed")

	tx5, err := pool.Begin(t.Context())
	must(t, err)
	old, err := notify.Create(t.Context(), tx5, notify.WithoutAnnouncement()) // else it would be remembered for a second
	must(t, err)
	must(t, tx5.Commit(t.Context()))
	execute(t, pool, "TRUNCATE pgbarrier.barrier")
	wantEnded(t, "rows are gone", s.everyWay(t, c, old), "expired")
	forged := third
	forged.ID[15]++
	forged.XID = 3
	wantEnded(t, "forged, of a transaction that has ended", s.everyWay(t, c, forged), "expired")
	if code, body, _ := get(t, s.url+barriersPath+good.String()[:40]); code != 400 {
		t.Errorf("malformed: %d %s", code, body)
	}
	foreign := good
	foreign.Origin++
	if code, body, _ := get(t, s.url+barriersPath+foreign.String()+"?wait=1s"); code != 421 {
		t.Errorf("foreign: %d %s", code, body)
	}
	if _, err := c.Check(t.Context(), foreign); err == nil {
		t.Error("foreign: a check has an outcome")
	}
	eventually(t, "nothing is left", func() bool { st := s.relay.Stats(); return st.Tokens == 0 && st.Sessions == 0 })
}

func TestWaitsThroughHTTPOutlastACrashOfTheServer(t *testing.T) {
	t.Parallel()
	pg := devpg.ForTest(t)
	pool := open(t, pg.URL())
	s := newService(t, pool)
	c := newClient(t, nil, s.url)
	tx, good := producer(t, pool)
	_, lost := producer(t, pool)
	must(t, tx.Commit(t.Context()))
	forLost := s.everyWay(t, c, lost)
	forBoth := s.everyWay(t, c, good, lost)
	eventually(t, "all are waited for", func() bool { return s.relay.Stats().Tokens == 6 })
	must(t, pg.Crash(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	if _, err := c.Check(ctx, good); err == nil {
		t.Error("a check has an answer while the server is down")
	}
	cancel()
	if code, body, _ := get(t, s.url+"/healthz"); code != 200 {
		t.Errorf("an outage of the database is no reason to restart a relay: %d %s", code, body)
	}
	must(t, pg.Restart(t.Context()))
	wantEnded(t, "crash before COMMIT", forLost, "aborted")
	wantEnded(t, "one of two lost", forBoth, "aborted")
	wantEnded(t, "COMMIT before the crash", s.everyWay(t, c, good), "committed")
}
