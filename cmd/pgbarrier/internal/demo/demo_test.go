package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// asProducer makes the test binary be a producer process, for the approach that it names.
const asProducer = "PGBARRIER_TEST_AS_PRODUCER"

var server *devpg.Server

func TestMain(m *testing.M) {
	if approach := os.Getenv(asProducer); approach != "" {
		if err := Produce(context.Background(), os.Getenv("PGBARRIER_TEST_URL"), os.Getenv("PGBARRIER_TEST_QUEUE"), approach, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	var err error
	if server, err = devpg.Start(context.Background(), devpg.Config{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = server.Close()
		os.Exit(code)
	}), goleak.IgnoreCurrent()) // devpg's, for the server
}

func config(url string, requests int, progress *bytes.Buffer) Config {
	return Config{
		DatabaseURL: url,
		Requests:    requests,
		Progress:    progress,
		Producer: func(ctx context.Context, databaseURL, queue, approach string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), asProducer+"="+approach, "PGBARRIER_TEST_URL="+databaseURL, "PGBARRIER_TEST_QUEUE="+queue, "GORACE=atexit_sleep_ms=0")
			return cmd
		},
	}
}

// schemas returns the demo's schemas in the database.
func schemas(t *testing.T, url string) (found []string) {
	t.Helper()
	query(t, url, "SELECT coalesce(array_agg(nspname::text ORDER BY nspname), '{}') FROM pg_namespace WHERE nspname LIKE 'pgbarrier%'", &found)
	return found
}

func query(t *testing.T, url, sql string, dest ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if len(dest) == 0 {
		_, err = conn.Exec(t.Context(), sql)
	} else {
		err = conn.QueryRow(t.Context(), sql).Scan(dest...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheDemonstrationShowsThatPgbarrierLosesNothing(t *testing.T) {
	for queue := range kinds {
		t.Run(queue, func(t *testing.T) {
			t.Parallel()
			demonstrate(t, queue)
		})
	}
}

func demonstrate(t *testing.T, queue string) {
	const requests = 300
	url := server.DatabaseForTest(t)
	var progress, report bytes.Buffer
	c := config(url, requests, &progress)
	c.Queue = queue
	result, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	result.Report(&report)
	t.Logf("%s%s", &progress, &report)
	if !result.Kept() {
		t.Error("pgbarrier lost something or did something wrong")
	}
	if len(result.Approaches) != len(approaches) {
		t.Fatalf("%d approaches, want %d", len(result.Approaches), len(approaches))
	}
	for i, c := range result.Approaches {
		l, measured := c.Latency, 0
		for _, n := range l.Buckets {
			measured += n
		}
		switch {
		case c.Name != approaches[i].name:
			t.Errorf("approach %d is %s", i, c.Name)
		case c.Committed+c.Aborted != requests:
			t.Errorf("%s: %d orders and %d aborted are not all requests", c.Name, c.Committed, c.Aborted)
		case c.Runs != c.OK+c.TooEarly+c.ForNothing:
			t.Errorf("%s: %d runs are not the sum of their kinds: %+v", c.Name, c.Runs, c)
		case c.OK+c.TooEarly+c.Lost != c.Committed:
			t.Errorf("%s: %d orders are not the sum of their fates: %+v", c.Name, c.Committed, c)
		case measured != l.Measured, l.Measured > c.OK, len(l.Buckets) != len(bucketBounds)+1, l.P50 > l.P99, l.P99 > l.Max:
			t.Errorf("%s: latencies do not add up: %+v", c.Name, l)
		case c.barrier && c.Runs != c.Committed:
			t.Errorf("%s: %d runs of %d orders", c.Name, c.Runs, c.Committed)
		case !c.barrier && c.Dropped > 0:
			t.Errorf("%s: %d messages were dropped without a barrier", c.Name, c.Dropped)
		case (c.ListenKilled > 0) != approaches[i].cut:
			t.Errorf("%s: %d LISTEN connections were killed", c.Name, c.ListenKilled)
		case c.ProducersKilled == 0:
			t.Errorf("%s: no producer was killed", c.Name)
		}
	}
	if !strings.Contains(progress.String(), "(here "+kinds[queue].title+")") || result.Queue != queue {
		t.Errorf("it does not say that it went through %s, but %q", queue, result.Queue)
	}
	if left := schemas(t, url); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	for line := range strings.Lines(report.String()) {
		if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > 80 {
			t.Errorf("more than 80 characters: %s", line)
		}
	}
	if strings.Contains(report.String()+progress.String(), "\x1b") {
		t.Error("colours where no terminal is")
	}
}

func TestAnInterruptLeavesNothing(t *testing.T) {
	url := server.DatabaseForTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() {
		_, err := Run(ctx, config(url, 100_000, &bytes.Buffer{}))
		ran <- err
	}()
	for working := false; !working; time.Sleep(10 * time.Millisecond) {
		var exists bool
		query(t, url, "SELECT to_regclass('pgbarrier_demo.runs') IS NOT NULL", &exists)
		if exists {
			query(t, url, "SELECT EXISTS (SELECT FROM pgbarrier_demo.runs)", &working)
		}
	}
	cancel()
	began := time.Now()
	if err := <-ran; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if left := schemas(t, url); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

func TestInADatabaseThatIsInUse(t *testing.T) {
	url := server.DatabaseForTest(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := pgbarrier.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	refused := func(why, reason string) {
		t.Helper()
		_, err := Run(t.Context(), config(url, 1, &bytes.Buffer{}))
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: the error is %v", why, err)
		}
	}

	query(t, url, "CREATE SCHEMA pgbarrier_demo")
	refused("a schema of somebody else's", "not the demo's")
	if got := schemas(t, url); len(got) != 2 {
		t.Errorf("of pgbarrier and pgbarrier_demo there is left %v", got)
	}

	if _, err := conn.Exec(t.Context(), fmt.Sprintf("SELECT pg_advisory_lock(%d)", int64(demoLock))); err != nil {
		t.Fatal(err)
	}
	refused("another demo", "another pgbarrier demo")
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_unlock_all()"); err != nil {
		t.Fatal(err)
	}

	// What a demo that was killed has left is no obstacle, and pgbarrier stays where it was.
	query(t, url, "COMMENT ON SCHEMA pgbarrier_demo IS 'pgbarrier demo: left'")
	if _, err := Run(t.Context(), config(url, 10, &bytes.Buffer{})); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(schemas(t, url)); got != "[pgbarrier]" {
		t.Errorf("there is %v, want pgbarrier alone", got)
	}
}
