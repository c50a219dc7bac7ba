package relaynats

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
	"github.com/pgbarrier/pgbarrier/notify"
	"github.com/pgbarrier/pgbarrier/relay"
)

// patience is for what comes sooner or later.
const patience = 2 * time.Minute

// A broker is a NATS server of one test, a real one that runs in its process.
type broker struct {
	options natsserver.Options
	server  *natsserver.Server
}

func startBroker(t testing.TB, change ...func(*natsserver.Options)) *broker {
	t.Helper()
	b := &broker{options: natsserver.Options{Host: "127.0.0.1", NoSigs: true, NoLog: true}}
	for _, f := range change {
		f(&b.options)
	}
	for range 5 { // another process may take the port between
		b.options.Port = freePort()
		if err := b.start(); err == nil {
			t.Cleanup(b.stop)
			return b
		}
	}
	t.Fatal("cannot start a NATS server")
	return nil
}

// freePort returns one below those that the system hands out by itself, to a client while the server restarts.
func freePort() int {
	for {
		port := 15000 + rand.IntN(15000)
		if l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err == nil {
			_ = l.Close()
			return port
		}
	}
}

func (b *broker) start() (err error) {
	options := b.options
	if b.server, err = natsserver.NewServer(&options); err != nil {
		return err
	}
	b.server.Start()
	if !b.server.ReadyForConnections(time.Minute) {
		b.stop()
		return errors.New("it is not ready")
	}
	return nil
}

func (b *broker) stop() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

func (b *broker) url() string {
	return "nats://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(b.options.Port))
}

// A lifeline is a connection to NATS that can be cut for ever, as that of a process which is killed.
type lifeline struct {
	*nats.Conn

	mu    sync.Mutex
	conns []net.Conn
	dead  bool
}

func (l *lifeline) Dial(network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return nil, errors.New("the process is dead")
	}
	c, err := net.Dial(network, address)
	if err == nil {
		l.conns = append(l.conns, c)
	}
	return c, err
}

func (l *lifeline) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, c := range l.conns {
		_ = c.(*net.TCPConn).SetLinger(0) // what was not sent is gone
		_ = c.Close()
	}
}

func (b *broker) connect(t testing.TB, options ...nats.Option) *lifeline {
	t.Helper()
	l := &lifeline{}
	options = append(append(Options(), nats.SetCustomDialer(l), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond)), options...)
	nc, err := nats.Connect(b.url(), options...)
	if err != nil {
		t.Fatal(err)
	}
	l.Conn = nc
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() {
		nc.Close()
		<-closed
	})
	return l
}

// A rig is a database, a NATS server, and relays and clients of both.
type rig struct {
	testing.TB
	*broker
	pool *pgxpool.Pool
}

func newRig(t testing.TB, change ...func(*natsserver.Options)) *rig {
	t.Helper()
	s, err := postgres()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, broker: startBroker(t, change...)}
	r.pool = openPool(t, s.DatabaseForTest(t))
	if err := pgbarrier.Migrate(t.Context(), r.pool); err != nil {
		t.Fatal(err)
	}
	return r
}

func openPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// A running is a relay with a listener and a connection of its own.
type running struct {
	*lifeline
	relay *relay.Relay
	ended chan struct{}
	err   error // of Serve, when it has ended
}

// relay starts one on the pool's database, and returns when it serves.
func (r *rig) relay(pool *pgxpool.Pool, options ...nats.Option) *running {
	r.Helper()
	l, err := listener.New(pool, listener.Config{})
	if err != nil {
		r.Fatal(err)
	}
	return r.serve(ServerConfig{Lease: 10 * time.Second}, r.connect(r, options...), l)
}

func (r *rig) serve(config ServerConfig, nc *lifeline, databases ...relay.Database) *running {
	r.Helper()
	re, err := relay.New(relay.Config{Databases: databases})
	if err != nil {
		r.Fatal(err)
	}
	p := &running{lifeline: nc, relay: re, ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = re.Run(ctx)
	}()
	go func() {
		defer close(p.ended)
		p.err = Serve(ctx, nc.Conn, re, config)
	}()
	r.Cleanup(func() {
		cancel()
		<-ran
		<-p.ended
	})
	return p
}

func (r *rig) client(config ClientConfig, options ...nats.Option) *Client {
	r.Helper()
	c, err := NewClient(r.connect(r, options...).Conn, config)
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = c.Run(ctx)
	}()
	r.Cleanup(func() {
		cancel()
		<-ran
	})
	return c
}

// create begins a transaction with a barrier.
func (r *rig) create(pool *pgxpool.Pool) (pgbarrier.Token, func(sql string)) {
	r.Helper()
	tx, err := pool.Begin(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	token, err := notify.Create(r.Context(), tx)
	if err != nil {
		r.Fatal(err)
	}
	return token, func(sql string) {
		r.Helper()
		switch sql {
		case "COMMIT":
			err = tx.Commit(r.Context())
		case "ROLLBACK":
			err = tx.Rollback(r.Context())
		default:
			_, err = tx.Exec(r.Context(), sql)
		}
		if err != nil {
			r.Fatal(err)
		}
	}
}

func (r *rig) committed(pool *pgxpool.Pool) pgbarrier.Token {
	r.Helper()
	token, do := r.create(pool)
	do("COMMIT")
	return token
}

func (r *rig) exec(pool *pgxpool.Pool, sql string, args ...any) {
	r.Helper()
	if _, err := pool.Exec(r.Context(), sql, args...); err != nil {
		r.Fatal(err)
	}
}

// ends waits for the end of a wait, which must be that.
func (r *rig) ends(what string, done <-chan error, want error) {
	r.Helper()
	select {
	case err := <-done:
		if !errors.Is(err, want) {
			r.Errorf("%s: ended with %v, want %v", what, err, want)
		}
	case <-time.After(patience):
		r.Fatalf("%s: it has not ended", what)
	}
}

// pending begins a wait that has not ended when a relay has it.
func (r *rig) pending(c *Client, tokens ...pgbarrier.Token) <-chan error {
	r.Helper()
	done := begin(c, tokens...)
	r.until("a relay has the wait", func() bool {
		statuses, err := c.Check(r.Context(), tokens...)
		if err != nil {
			r.Fatal(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(statuses) == len(tokens) && len(c.links[tokens[0].Origin].unsent) == 0
	})
	if len(done) > 0 {
		r.Fatalf("it has ended with %v", <-done)
	}
	return done
}

func (r *rig) until(what string, holds func() bool) {
	r.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("it did not come that %s", what)
		}
	}
}
