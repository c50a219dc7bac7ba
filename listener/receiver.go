package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgxlisten"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/internal/dial"
	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// Channel is the notification channel of all announcements. Payloads are tokens.
const Channel = "pgbarrier"

// probeChannel is that of all probes. Payloads are random.
const probeChannel = "pgbarrier_probe"

const (
	// A session that lasted so long resets the reconnect delay.
	healthySpell = 30 * time.Second
	minReconnect = 50 * time.Millisecond
	maxReconnect = 10 * time.Second
)

// A receiver keeps one session and hands what it hears to the waits. The loop of pgxlisten owns the connection and
// calls the receiver's methods, from one goroutine. Another, watch, sees to it that the session hears.
type receiver struct {
	waits *waitSet
	dial  func(ctx context.Context) (*pgx.Conn, error)
	// probe sends a probe on a connection of its own, and holder names who holds up all notifications.
	probe   func(ctx context.Context, payload string) error
	holder  func(ctx context.Context) (string, error)
	config  Config
	random  func(n time.Duration) time.Duration // in [0, n)
	pause   pause
	ready   func()        // called when a session is heard
	changed chan struct{} // there may be something to do for watch. Capacity 1.
	mu      sync.Mutex    // guards all below, and the session
	session *session      // never nil, see noSession
	delay   time.Duration // before the next
}

func newReceiver(waits *waitSet, config Config) *receiver {
	return &receiver{waits: waits, config: config, random: rand.N[time.Duration], pause: untilReady,
		changed: make(chan struct{}, 1), delay: minReconnect, session: noSession()}
}

// listen runs the loop until ctx ends: it connects, listens on both channels, receives, and begins again.
func (r *receiver) listen(ctx context.Context) {
	loop := &pgxlisten.Listener{Connect: r.connect, LogError: r.failed, ReconnectDelay: -1} // none: failed has a better one
	loop.Handle(Channel, r)
	loop.Handle(probeChannel, r)
	_ = loop.Listen(ctx) // that ctx has ended
}

func (r *receiver) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := r.dial(ctx)
	if err == nil {
		// To close the socket would leave a goroutine of pgx for 15 s; and pgxlisten closes the connection with a
		// context that may have ended, which does not wait for that.
		r.connected(func() { _ = conn.PgConn().Conn().SetDeadline(time.Now()) }, func() { dial.Close(conn) })
	}
	return conn, err
}

// connected: a session is there.
func (r *receiver) connected(end, close func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session = &session{end: end, close: close, missing: 2, due: time.Now().Add(queryTimeout), overdue: errors.New("LISTEN was not answered in time")}
	signal(r.changed)
}

// HandleBacklog: LISTEN has committed on one of the channels.
func (r *receiver) HandleBacklog(context.Context, string, *pgx.Conn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session.missing--; r.session.missing == 0 {
		r.session.due, r.session.overdue = time.Now(), nil
		signal(r.changed)
	}
	return nil
}

// HandleNotification: a notification has come on one of the channels.
func (r *receiver) HandleNotification(ctx context.Context, n *pgconn.Notification, conn *pgx.Conn) error {
	// Every probe is heard by all sessions of the database: the first to be impatient spares the others theirs.
	now := time.Now()
	until := now.Add(r.config.Heartbeat*3/4 + r.random(max(r.config.Heartbeat/4, 1)))
	r.mu.Lock()
	first := r.session.hears(n.Payload, now, until)
	r.mu.Unlock()
	if first {
		r.found(ctx, conn)
	}
	if n.Channel == Channel {
		_ = r.waits.hear(n.Payload) // counted there
	}
	return nil
}

// found: the session hears, and would end if the server crashed.
func (r *receiver) found(ctx context.Context, conn *pgx.Conn) {
	r.waits.note(func(s *stats) { s.Connected, s.listenErr, s.Connections = true, nil, s.Connections+1 })
	// What was committed before LISTEN was, was missed.
	r.waits.recheck() // breakage: listens
	r.ready()
	r.config.Logger.Info("pgbarrier: listening")
	if r.config.Trace.Connected != nil {
		r.config.Trace.Connected()
	}
	if conn != nil {
		// Not before: through a pooler it would be for somebody else's session. If it fails, the loop will see.
		limited, cancel := context.WithTimeout(ctx, firstTimeout)
		defer cancel()
		_, _ = conn.Exec(limited, "SET idle_session_timeout = 0 /* the session that LISTENs */")
	}
}

// failed: the session, or the attempt to open one, has failed because of err. It returns when another may be opened.
func (r *receiver) failed(ctx context.Context, err error) {
	if errors.Unwrap(err) == nil {
		return // a notification on a channel of somebody else's, on which a hook of the pool listens
	}
	if wire.SQLState(err) == wire.ReadOnlySQLTransaction { // LISTEN during recovery
		err = fmt.Errorf("pgbarrier: listen: %w (%w)", pgbarrier.ErrStandby, err)
	}
	r.mu.Lock()
	s := r.session
	if s.ended != nil {
		err = s.ended
	}
	proved := !s.proved.IsZero()
	if proved && time.Since(s.proved) >= healthySpell && s.ended != errGivenBack {
		r.delay = minReconnect
	}
	// Random: processes that lost the same server do not return to it at once.
	pause := r.delay/2 + r.random(r.delay)
	r.session, r.delay = noSession(), min(2*r.delay, maxReconnect)
	r.mu.Unlock()

	s.close()
	if ctx.Err() != nil {
		return
	}
	r.waits.note(func(s *stats) { s.Connected, s.listenErr = false, err })
	if proved {
		// The server may have crashed.
		r.waits.recheck() // breakage: lost
	}
	level := slog.LevelWarn
	if errors.Is(err, errDeaf) {
		level = slog.LevelError
	}
	r.config.Logger.Log(context.Background(), level, "pgbarrier: not listening, waits end by checks", "error", err, "retry_in", pause)
	if proved && r.config.Trace.Disconnected != nil {
		r.config.Trace.Disconnected(err)
	}
	r.pause(ctx, time.Now().Add(pause), nil)
}

// giveBack ends the session, and opens none for a while: the check connection, without which no wait might
// end, needs its place.
func (r *receiver) giveBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = maxReconnect
	r.session.replace(errGivenBack)
}

func noSession() *session { return &session{end: func() {}, close: func() {}} }
