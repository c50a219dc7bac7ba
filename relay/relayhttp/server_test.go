package relayhttp

import (
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/relay"
)

func do(t *testing.T, client *http.Client, method, url, body string, headers ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	r.Close = true // so that nothing is left of it
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(text), resp.Header
}

func TestEachOutcomeHasItsStatusCode(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), nil)
	for _, test := range []struct {
		status pgbarrier.Status
		code   int
	}{
		{pgbarrier.Committed, 200}, {pgbarrier.Aborted, 409}, {pgbarrier.Expired, 410}, {pgbarrier.WrongDatabase, 421},
		{pgbarrier.Invalid, 400}, {pgbarrier.Pending, 503},
	} {
		token := guardtest.NewToken()
		s.Set(test.status, token)
		for _, query := range []string{"", "?wait=1ms", "?wait=0"} {
			code, body, header := get(t, s.http.URL+barriersPath+token.String()+query)
			var a answer
			must(t, json.Unmarshal([]byte(body), &a))
			if code != test.code || a.Outcome != test.status.String() {
				t.Errorf("%v%s: %d %s", test.status, query, code, body)
			}
			if !strings.Contains(header.Get("Cache-Control"), "no-store") {
				t.Errorf("%v: a cache would keep %v", test.status, header)
			}
			if (header.Get("Retry-After") != "") != (code == 503) {
				t.Errorf("%v: Retry-After is %q", test.status, header.Get("Retry-After"))
			}
		}
	}
}

func TestARequestThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), func(_ *relay.Config, c *ServerConfig) { c.MaxBody = 1000 })
	token := guardtest.NewToken().String()
	foreign := guardtest.NewToken()
	foreign.Origin++
	for _, test := range []struct {
		method, path, body string
		code               int
		word               string
	}{
		{"GET", barriersPath + "pgb1.x", "", 400, `"outcome":"invalid"`},
		{"GET", barriersPath + token + ",", "", 400, `"outcome":"invalid"`},
		{"GET", barriersPath + token + "?wait=soon", "", 400, `"error"`},
		{"GET", barriersPath + token + "?wait=-1s", "", 400, `"error"`},
		{"GET", barriersPath + strings.Repeat(token+",", maxNamed) + token, "", 400, "POST them"},
		{"GET", barriersPath + foreign.String(), "", 421, `"error"`},
		{"GET", barriersPath + foreign.String() + "," + token + "?wait=1s", "", 421, `"error"`},
		{"GET", barriersPath, "", 404, ""},
		{"DELETE", barriersPath + token, "", 405, ""},
		{"GET", waitsPath, "", 405, ""},
		{"POST", waitsPath, "{", 400, "body"},
		{"POST", waitsPath, `{"wait_ms":-1}`, 200, endAll},
		{"POST", waitsPath, `{"waits":[{"id":1,"tokens":["` + strings.Repeat("x", 2000) + `"]}]}`, 413, "error"},
		{"POST", waitsPath, `{"waits":[{"id":7,"tokens":[]}]}`, 200, `"id":7,"outcome":"invalid"`},
		{"POST", waitsPath, `{"waits":[{"id":7,"tokens":["x"]}]}`, 200, `"id":7,"outcome":"invalid"`},
		{"POST", waitsPath, `{"waits":[{"id":7,"tokens":["` + foreign.String() + `"]}]}`, 200, wordUnknown},
		{"POST", checksPath, `{"tokens":["x"]}`, 400, "error"},
		{"POST", checksPath, `{"request":"r"}`, 200, `{"request":"r","outcomes":[]}`},
		{"POST", checksPath, `{"tokens":["` + foreign.String() + `"]}`, 421, "error"},
	} {
		if code, body, _ := do(t, http.DefaultClient, test.method, s.http.URL+test.path, test.body); code != test.code || !strings.Contains(body, test.word) {
			t.Errorf("%s %.80s %.80s: %d %s, want %d %s", test.method, test.path, test.body, code, body, test.code, test.word)
		}
	}
}

func TestAWaitForSeveralIsOneOutcome(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), nil)
	good, other, bad := guardtest.NewToken(), guardtest.NewToken(), guardtest.NewToken()
	s.Commit(good)
	ended := make(chan int, 1)
	go func() {
		code, _, _ := get(t, s.http.URL+barriersPath+good.String()+","+other.String()+"?wait=1m")
		ended <- code
	}()
	must(t, s.UntilWaiting(t.Context(), 1))
	s.Commit(other)
	if code := <-ended; code != 200 {
		t.Errorf("all are committed: %d", code)
	}
	s.Abort(bad)
	for _, query := range []string{"", "?wait=1s"} {
		code, body, _ := get(t, s.http.URL+barriersPath+good.String()+","+bad.String()+query)
		if code != 409 || !strings.Contains(body, bad.String()) {
			t.Errorf("one has aborted: %d %s", code, body)
		}
	}
}

func TestAWaitLeavesNothingBehindWhenItsClientGoes(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), nil)
	token := guardtest.NewToken()
	c := newClient(t, nil, s.http.URL)
	stop := c.WaitFunc(func(error) {}, token)
	go func() {
		r, err := http.NewRequest(http.MethodGet, s.http.URL+barriersPath+token.String()+"?wait=1m", nil)
		if err == nil {
			_, _ = http.DefaultClient.Do(r)
		}
	}()
	must(t, s.UntilWaiting(t.Context(), 2))
	stop()
	must(t, s.UntilWaiting(t.Context(), 1))
	s.http.CloseClientConnections()
	must(t, s.UntilWaiting(t.Context(), 0))
	eventually(t, "the relay has no session", func() bool { return s.relay.Stats().Sessions == 0 && s.handler.Requests() == 0 })
}

func TestLimitsRefuseWithRetryAfter(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), func(rc *relay.Config, sc *ServerConfig) { sc.MaxClientRequests, rc.MaxTokens = 1, 1 })
	first, second := guardtest.NewToken(), guardtest.NewToken()
	ended := make(chan int, 1)
	go func() {
		code, _, _ := get(t, s.http.URL+barriersPath+first.String()+"?wait=1m")
		ended <- code
	}()
	must(t, s.UntilWaiting(t.Context(), 1))
	code, body, header := get(t, s.http.URL+barriersPath+second.String()+"?wait=1m")
	if code != 429 || header.Get("Retry-After") == "" {
		t.Errorf("a second request: %d %s", code, body)
	}
	if code, body, _ := get(t, s.http.URL+"/readyz"); code != 200 {
		t.Errorf("a full relay's readiness: %d %s", code, body)
	}
	s.Commit(first)
	if code := <-ended; code != 200 {
		t.Errorf("the first request: %d", code)
	}
	eventually(t, "there is room", func() bool { return s.handler.Requests() == 0 })
	code, body, header = get(t, s.http.URL+barriersPath+second.String()+","+guardtest.NewToken().String()+"?wait=1m")
	if code != 429 || header.Get("Retry-After") == "" {
		t.Errorf("more tokens than the relay takes: %d %s", code, body)
	}
	if s.handler.Refused() != 1 {
		t.Errorf("%d requests were refused", s.handler.Refused())
	}
}

func TestHealthAndReadinessFollowTheRelay(t *testing.T) {
	t.Parallel()
	s := newSite(t, new(double), func(_ *relay.Config, c *ServerConfig) { c.Authorize = Bearer("secret") })
	token := guardtest.NewToken()
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body, _ := get(t, s.http.URL+path); code != 200 || body != "ok\n" {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	ended := make(chan int, 1)
	go func() {
		code, _, _ := get(t, s.http.URL+barriersPath+token.String()+"?wait=1m", "Authorization", "Bearer secret")
		ended <- code
	}()
	must(t, s.UntilWaiting(t.Context(), 1))
	s.relay.Drain()
	if code := <-ended; code != 503 {
		t.Errorf("a wait while draining: %d", code)
	}
	if code, body, _ := get(t, s.http.URL+"/readyz"); code != 503 || !strings.Contains(body, "draining") {
		t.Errorf("readiness while draining: %d %s", code, body)
	}
	if code, body, _ := get(t, s.http.URL+"/healthz"); code != 200 {
		t.Errorf("health while draining: %d %s", code, body)
	}
}

// What a shell script does: 503 makes curl fail, or try again.
func TestCurlAsksAgainUntilItIsCommitted(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("NOT TESTED: curl is not installed: apt-get install curl")
	}
	s := newSite(t, new(double), nil)
	token := guardtest.NewToken()
	url := s.http.URL + barriersPath + token.String()
	if out, err := exec.CommandContext(t.Context(), curl, "--silent", "--fail", url).CombinedOutput(); err == nil {
		t.Errorf("curl --fail succeeds on what is pending: %s", out)
	}
	asked := make(chan error, 1)
	go func() {
		_, err := exec.CommandContext(t.Context(), curl, "--silent", "--fail", "--retry", "1000", "--retry-max-time", "100", url+"?wait=10ms").CombinedOutput()
		asked <- err
	}()
	eventually(t, "it has asked", func() bool { return s.relay.Stats().Sessions > 0 })
	time.AfterFunc(100*time.Millisecond, func() { s.Commit(token) })
	if err := <-asked; err != nil {
		t.Errorf("curl --retry: %v", err)
	}
}
