package guardriver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier/devpg"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

// Nothing is declared as lacking. A case that restarts a server has one of its own, and one that kills a worker a
// database of River's.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range guardtest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			producers, restartProducers := serverFor(t, strings.Contains(c.Name, "restart of the database"))
			rivers, restartRivers := serverFor(t, strings.Contains(c.Name, "restart of the broker"))
			url := riverURL
			if rivers != shared || strings.Contains(c.Name, "killed worker") {
				url = ownRiver(t, rivers)
			}
			pool, barriers := startListener(t, producers.DatabaseForTest(t))
			c.Run(t, guardtest.Database{Pool: pool, Waiter: barriers, Restart: restartProducers}, guardtest.Adapter{
				Open: func(t testing.TB, name string, attempts int) guardtest.Queue {
					return openQueue(t, open(t, url), name, attempts)
				},
				Restart:  restartRivers,
				Config:   guard.Config{Slots: 2},
				Patience: time.Minute,
			})
		})
	}
}

func serverFor(t *testing.T, own bool) (server *devpg.Server, restart func(context.Context) error) {
	if own {
		server = devpg.ForTest(t, settings)
		return server, server.Restart
	}
	return shared, func(context.Context) error { return errors.New("the server is shared by other tests") }
}

// silent is a client's log.
var silent = slog.New(slog.DiscardHandler)

// jobArgs are of all jobs in tests.
type jobArgs struct {
	ID       string `json:"id"`
	Business string `json:"business" river:"unique"`
}

func (jobArgs) Kind() string { return "guardtest" }

// soon is when a job whose handler has failed comes again.
type soon struct{}

func (soon) NextRetry(*rivertype.JobRow) time.Time { return time.Now().Add(20 * time.Millisecond) }

// workerConfig is a client's with short intervals, so that tests need not wait for River.
func workerConfig(queue string, workers int, handle func(context.Context, *river.Job[jobArgs]) error) *river.Config {
	bundle := river.NewWorkers()
	river.AddWorker(bundle, river.WorkFunc(handle))
	return &river.Config{
		Queues: map[string]river.QueueConfig{queue: {MaxWorkers: workers}}, Workers: bundle,
		FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 200 * time.Millisecond,
		RetryPolicy: soon{}, Logger: silent, TestOnly: true,
	}
}

// queue is one of River's, as the suite sees it.
type queue struct {
	name     string
	attempts int
	pool     *pgxpool.Pool
	clients  sync.WaitGroup // that were killed
	client   *river.Client[pgx.Tx]
	bare     *river.Client[pgx.Tx] // inserts without ours
}

func openQueue(t testing.TB, pool *pgxpool.Pool, name string, attempts int) guardtest.Queue {
	q := &queue{name: name, attempts: attempts, pool: pool, client: inserter(t, pool, Inserts()), bare: inserter(t, pool)}
	t.Cleanup(q.clients.Wait)
	return guardtest.Queue{Publish: q.publish, Consume: q.consume, Dead: q.dead}
}

// inserter returns a client that only inserts.
func inserter(t testing.TB, pool *pgxpool.Pool, middleware ...rivertype.Middleware) *river.Client[pgx.Tx] {
	t.Helper()
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: silent, Middleware: middleware})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (q *queue) publish(ctx context.Context, m guardtest.Message) error {
	metadata := fields{}
	for key, value := range m.Header {
		metadata.Set(key, value)
	}
	opts := &river.InsertOpts{Queue: q.name, MaxAttempts: q.attempts, Metadata: encode(metadata)}
	if m.Business != "" {
		opts.UniqueOpts = river.UniqueOpts{ByArgs: true}
	}
	client := q.client
	if _, err := guard.Extract(m.Header); err != nil { // a header that no producer of ours sends
		client = q.bare
	}
	_, err := client.Insert(ctx, jobArgs{ID: m.ID, Business: m.Business}, opts)
	return err
}

func (q *queue) dead(ctx context.Context) ([]string, error) {
	rows, err := q.pool.Query(ctx, `SELECT args->>'id' FROM river_job
		WHERE queue = $1 AND (state = 'discarded' OR state = 'cancelled' AND metadata->>$2 = 'reject')`, q.name, VerdictKey)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

var workers atomic.Int64

func (q *queue) consume(w guardtest.Worker) (guardtest.Running, error) {
	line := new(cable)
	config := q.pool.Config()
	config.ConnConfig.DialFunc = line.dial
	name := fmt.Sprintf("worker %d", workers.Add(1))
	config.ConnConfig.RuntimeParams["application_name"] = name
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return guardtest.Running{}, err
	}
	ctx, stop := context.WithCancel(context.Background())
	client, err := startClient(ctx, pool, w.Guard, workerConfig(q.name, w.Workers, func(ctx context.Context, job *river.Job[jobArgs]) error {
		return w.Handle(ctx, job.Args.ID)
	}))
	if err != nil {
		stop()
		pool.Close()
		return guardtest.Running{}, err
	}
	end := func() error {
		stop()
		defer pool.Close()
		return client.Stop(context.Background())
	}
	return guardtest.Running{
		Stop: end,
		Kill: func() {
			line.cut()
			q.clients.Go(func() { _ = end() })
			q.hoursLater(name)
		},
	}, nil
}

// startClient starts a guarded client whose waits end with ctx.
func startClient(ctx context.Context, pool *pgxpool.Pool, g *guard.Guard, cfg *river.Config) (*river.Client[pgx.Tx], error) {
	return startClientWith(ctx, context.Background(), pool, g, cfg)
}

// startClientWith starts one that ends with another context.
func startClientWith(waiting, running context.Context, pool *pgxpool.Pool, g *guard.Guard, cfg *river.Config) (*river.Client[pgx.Tx], error) {
	if err := Configure(waiting, cfg, g, pool); err != nil {
		return nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(pool), cfg)
	if err != nil {
		return nil, err
	}
	return client, client.Start(running)
}

// hoursLater makes it two hours later for a client that was killed. The next client is the leader then, and looks at once
// for jobs that have been running for RescueStuckJobsAfter.
func (q *queue) hoursLater(application string) {
	ctx := context.Background()
	for sessions := 1; sessions > 0; time.Sleep(5 * time.Millisecond) {
		if err := q.pool.QueryRow(ctx, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1", application).Scan(&sessions); err != nil {
			panic(err)
		}
	}
	for _, later := range []string{
		"UPDATE river_job SET attempted_at = attempted_at - interval '2 hours' WHERE state = 'running'",
		"DELETE FROM river_leader",
	} {
		if _, err := q.pool.Exec(ctx, later); err != nil {
			panic(err)
		}
	}
}

// cable leads a client to its database until it is cut.
type cable struct {
	mu    sync.Mutex
	conns []net.Conn
	gone  bool
}

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	c.conns = append(c.conns, conn)
	return conn, nil
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}
