package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/relay/relayhttp"
	"github.com/pgbarrier/pgbarrier/relay/relaynats"
)

// A serving is a run of pgbarrier serve.
type serving struct {
	cmd    *exec.Cmd
	errs   *bytes.Buffer
	told   map[string]string // URLs by what is there
	exited chan error
}

// startServing returns when the command has told all of its addresses.
func startServing(t *testing.T, url string, addresses int, args ...string) *serving {
	t.Helper()
	cmd, _, errs := command(t, url, append([]string{"serve"}, args...)...)
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	s := &serving{cmd: cmd, errs: errs, told: map[string]string{}, exited: make(chan error, 1)}
	lines := bufio.NewScanner(out)
	for len(s.told) < addresses && lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 1 {
			s.told[words[0]] = words[1]
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, out)
		s.exited <- cmd.Wait()
	}()
	if len(s.told) < addresses {
		t.Fatalf("it told %v, and exited with %v\n%s", s.told, <-s.exited, errs)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.exited
	})
	return s
}

// terminate ends it as Kubernetes does.
func (s *serving) terminate(t *testing.T) {
	t.Helper()
	must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.wantDrained(t)
}

// wantDrained waits until it has ended after SIGTERM, of which a second would end it at once.
func (s *serving) wantDrained(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.exited:
		s.exited <- err
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, s.errs)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not end")
	}
}

func (s *serving) get(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.told["HTTP"]+path, nil)
	must(t, err)
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(text)
}

func (s *serving) awaitReady(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		code, body := s.get(t, "/readyz")
		if code == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is not ready: %d %s", code, body)
		}
	}
}

// workers waits with a client of each transport.
func (s *serving) workers(t *testing.T) map[string]guard.Waiter {
	t.Helper()
	overHTTP, err := relayhttp.NewClient(relayhttp.ClientConfig{URLs: []string{s.told["HTTP"]}})
	must(t, err)
	t.Cleanup(overHTTP.Close)
	nc, err := nats.Connect(s.told["NATS"], relaynats.Options()...)
	must(t, err)
	t.Cleanup(nc.Close)
	overNATS, err := relaynats.NewClient(nc, relaynats.ClientConfig{})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = overNATS.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return map[string]guard.Waiter{"HTTP": overHTTP, "NATS": overNATS}
}

func TestServeAnswersWorkersThatHaveNoDatabase(t *testing.T) {
	url := migrated(t)
	s := startServing(t, url, 2, "-nats", "embedded", "--nats-listen", "127.0.0.1:0", "-http", "127.0.0.1:0")
	s.awaitReady(t)
	workers := s.workers(t)
	conn := connectTo(t, url)
	for _, end := range []string{"COMMIT", "ROLLBACK"} {
		tx, token := begin(t, conn)
		ended := make(chan error, len(workers))
		for transport, w := range workers {
			go func() {
				err := w.Wait(t.Context(), token)
				if status, known := statusOf(err); !known || (status == pgbarrier.Committed) != (end == "COMMIT") {
					t.Errorf("%s over %s: %v", end, transport, err)
				}
				ended <- err
			}()
		}
		if code, body := s.get(t, "/v1/barriers/"+token.String()); code != http.StatusServiceUnavailable || !strings.Contains(body, `"pending"`) {
			t.Errorf("before %s: %d %s", end, code, body)
		}
		if end == "COMMIT" {
			must(t, tx.Commit(t.Context()))
		} else {
			must(t, tx.Rollback(t.Context()))
		}
		for range workers {
			<-ended
		}
	}
	code, metrics := s.get(t, "/metrics")
	for _, line := range []string{`pgbarrier_relay_ready 1`, `pgbarrier_relay_waits_ended_total{outcome="committed"} 2`, `pgbarrier_relay_database_up{`, "go_goroutines "} {
		if code != http.StatusOK || !strings.Contains(metrics, line) {
			t.Errorf("/metrics, %d, lacks %q", code, line)
		}
	}
	s.terminate(t)
	if log := s.errs.String(); !strings.Contains(log, "draining") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the log is\n%s", log)
	}
}

// Not ready while draining, for as long as it lingers; a second relay has the waits by then.
func TestServeDrainsWithoutItsClientsNoticing(t *testing.T) {
	url := migrated(t)
	one := startServing(t, url, 1, "--http=127.0.0.1:0", "--linger=500ms")
	two := startServing(t, url, 1, "--http=127.0.0.1:0")
	one.awaitReady(t)
	two.awaitReady(t)
	c, err := relayhttp.NewClient(relayhttp.ClientConfig{URLs: []string{one.told["HTTP"], two.told["HTTP"]}})
	must(t, err)
	defer c.Close()
	tx, token := begin(t, connectTo(t, url))
	ended := make(chan error, 1)
	go func() { ended <- c.Wait(t.Context(), token) }()
	waits := func(s *serving, n string) {
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
			if _, metrics := s.get(t, "/metrics"); strings.Contains(metrics, "\npgbarrier_relay_tokens "+n+"\n") {
				return
			} else if time.Now().After(deadline) {
				t.Fatalf("it never waits for %s tokens", n)
			}
		}
	}
	waits(one, "1")
	must(t, one.cmd.Process.Signal(syscall.SIGTERM))
	waits(two, "1")
	must(t, c.Health())
	one.wantDrained(t)
	must(t, tx.Commit(t.Context()))
	must(t, <-ended)
	two.terminate(t)
}

func TestServeSaysWhatIsWrongWithItsFlags(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "bearer")
	for _, test := range []struct {
		args []string
		code int
		word string
	}{
		{nil, exitUsage, "--nats, --http"},
		{[]string{"--http", ":0"}, exitUsage, "DATABASE_URL"},
		{[]string{"--http", "127.0.0.1:0", "--nats", "nats://example"}, exitUsage, "DATABASE_URL"},
		{[]string{"--http", "127.0.0.1:0", "--tls-cert", "x"}, exitUsage, "--tls-key"},
		{[]string{"--http", "127.0.0.1:0", "--bearer-file", secret}, exitUsage, "--bearer-file"},
		{[]string{"--http", "127.0.0.1:0", "--retention", "0s"}, exitUsage, "--retention"},
		{[]string{"--http", "127.0.0.1:0", "--max-tokens", "0"}, exitUsage, "--max-tokens"},
		{[]string{"-d", "postgres://x", "--http", "127.0.0.1:none"}, exitError, "serve over HTTP"},
		{[]string{"-d", "not one", "--http", "127.0.0.1:0"}, exitError, "connection string"},
	} {
		pgbarrierCommand(t, "", append([]string{"serve"}, test.args...)...).expect(t, test.code, test.word)
	}
	// A schema that is missing does not come by waiting.
	o := pgbarrierCommand(t, server.DatabaseForTest(t), "serve", "--http", "127.0.0.1:0")
	o.expect(t, exitError, "pgbarrier migrate")
}

func TestServeWithoutADatabaseStartsAThrowawayOne(t *testing.T) {
	s := startServing(t, "", 2, "-http", "127.0.0.1:0")
	s.awaitReady(t)
	tx, token := begin(t, connectTo(t, s.told["database"]))
	must(t, tx.Commit(t.Context()))
	if code, body := s.get(t, "/v1/barriers/"+token.String()+"?wait=1m"); code != http.StatusOK {
		t.Errorf("committed: %d %s", code, body)
	}
	s.terminate(t)
}

func TestServeTakesSeveralDatabasesFromOneVariable(t *testing.T) {
	for text, want := range map[string]int{"": 0, " ": 0, "postgres://a": 1, "postgres://a postgresql://b\npostgres://c": 3, "host=a dbname=b": 1} {
		if got := databases([]string{text}); len(got) != want {
			t.Errorf("%q are %q", text, got)
		}
	}
	first, second := migrated(t), migrated(t)
	s := startServing(t, first+" "+second, 1, "--http=127.0.0.1:0")
	s.awaitReady(t)
	for _, url := range []string{first, second} {
		tx, token := begin(t, connectTo(t, url))
		must(t, tx.Commit(t.Context()))
		if code, body := s.get(t, "/v1/barriers/"+token.String()+"?wait=1m"); code != http.StatusOK {
			t.Errorf("committed: %d %s", code, body)
		}
	}
	s.terminate(t)
}

// -nats as well as --nats: Go's own commands take both. What means something else already stays.
func TestAFlagMayHaveOneHyphen(t *testing.T) {
	url := migrated(t)
	tx, token := begin(t, connectTo(t, url))
	must(t, tx.Commit(t.Context()))
	for _, args := range [][]string{{"status", "-json", token.String()}, {"status", "-d", url, token.String()}, {"status", "-d" + url, token.String()},
		{"wait", "-timeout=1m", token.String()}} {
		pgbarrierCommand(t, url, args...).expect(t, exitOK, "committed")
	}
}
