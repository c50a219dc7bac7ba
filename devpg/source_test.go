package devpg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// nothingHere hides every server from the search.
func nothingHere(t *testing.T) {
	globs := installGlobs
	installGlobs = nil
	t.Cleanup(func() { installGlobs = globs })
	t.Setenv("PATH", t.TempDir())
	t.Setenv("DOCKER_HOST", "unix://"+t.TempDir()+"/none.sock")
	t.Setenv("DOCKER_MACHINE_NAME", "")
	t.Setenv("DOCKER_CERT_PATH", "")
	t.Setenv("DEVPG_CACHE", t.TempDir())
	t.Setenv("DEVPG_REPOSITORY", "http://127.0.0.1:1")
	t.Setenv("DEVPG_URL", "")
	t.Setenv("DEVPG_BINDIR", "")
	t.Setenv("DEVPG_MAJOR", "")
	t.Setenv("DEVPG_IMAGE", "")
	t.Setenv("DEVPG", "")
}

func TestErrorNamesEachSourceAndWhatToInstall(t *testing.T) {
	nothingHere(t)
	_, err := Start(t.Context(), Config{})
	if !errors.Is(err, ErrNoServer) {
		t.Fatalf("got %v", err)
	}
	t.Log(err)
	for _, want := range []string{
		"url: DEVPG_URL is not set",
		"local: initdb and postgres are not in PATH",
		"docker: no engine answers at unix://",
		"download: the repository cannot be reached",
		"apt-get install postgresql",
		"brew install postgresql",
		"start Docker",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q", want)
		}
	}
}

func TestForcedSourceIsTheOnlyOneTried(t *testing.T) {
	for _, source := range []string{SourceURL, SourceLocal, SourceDocker, SourceDownload} {
		t.Run(source, func(t *testing.T) {
			nothingHere(t)
			t.Setenv("DEVPG", source)
			_, err := Start(t.Context(), Config{})
			var search *searchError
			if !errors.As(err, &search) || len(search.sources) != 1 || search.sources[0] != source {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Setenv("DEVPG", "cloud")
	if _, err := Start(t.Context(), Config{}); err == nil || !strings.Contains(err.Error(), "DEVPG=cloud is not a source") {
		t.Errorf("got %v", err)
	}
}

func TestDirectoryThatIsNamedIsTheOnlyOneTried(t *testing.T) {
	t.Setenv("DEVPG_URL", "")
	t.Setenv("DEVPG", "")
	dir := t.TempDir()
	t.Setenv("DEVPG_BINDIR", dir)
	_, err := Start(t.Context(), Config{})
	var search *searchError
	if !errors.As(err, &search) || len(search.sources) != 1 || !strings.Contains(err.Error(), dir+" has no program initdb") {
		t.Errorf("got %v", err)
	}
}

func TestMajorsThatWillNotDoArePassedOver(t *testing.T) {
	t.Setenv("DEVPG_URL", "")
	_, err := Start(t.Context(), Config{Source: SourceLocal, MinMajor: 99})
	if !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), "at least 99 is needed") {
		t.Errorf("got %v", err)
	}
	t.Setenv("DEVPG_MAJOR", "98")
	_, err = Start(t.Context(), Config{Source: SourceLocal})
	if !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), "DEVPG_MAJOR asks for 98") {
		t.Errorf("got %v", err)
	}
}

func TestSettingsThatCannotBeAreRefused(t *testing.T) {
	for name, value := range map[string]string{
		"port":               "1",
		"Listen_Addresses":   "*",
		"commit_delay = 1 #": "1",
		"commit_delay":       "1\nport = 1",
	} {
		if _, err := Start(t.Context(), Config{Settings: map[string]string{name: value}}); err == nil || errors.Is(err, ErrNoServer) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestServerThatDoesNotStartLeavesNothingAndShowsItsLog(t *testing.T) {
	t.Setenv("TMPDIR", openTempDir(t))
	_, err := Start(t.Context(), Config{Source: SourceLocal, Settings: map[string]string{"wal_level": "nonsense"}})
	if err == nil || errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v", err)
	}
	mustBeEmpty(t, os.TempDir())
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", openTempDir(t))
	ctx, cancel := context.WithCancel(t.Context())
	log := writerFunc(func(p []byte) (int, error) {
		cancel() // in the middle of initdb
		return len(p), nil
	})
	_, err := Start(ctx, Config{Source: SourceLocal, Log: log})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	mustBeEmpty(t, os.TempDir())
}

func TestServersStartedAtOnceDoNotCollide(t *testing.T) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	urls := map[string]bool{}
	for range 3 {
		wg.Go(func() {
			s, err := Start(t.Context(), Config{Source: SourceLocal})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			mu.Lock()
			defer mu.Unlock()
			urls[s.URL()] = true
		})
	}
	wg.Wait()
	if len(urls) != 3 {
		t.Errorf("%d URLs of 3 servers", len(urls))
	}
}

// launch must not take another server that answers on the port for its own,
// and must find another port.
func TestPortTakenMeanwhileIsLeftToItsOwner(t *testing.T) {
	first := ForTest(t, Config{Source: SourceLocal})
	w, err := Config{Source: SourceLocal}.wish()
	must(t, err)
	at, err := localSite(t.Context(), w)
	must(t, err)
	second := &Server{source: SourceLocal, at: at}
	t.Cleanup(func() { second.Close() })
	must(t, at.keeper.ask(t.Context(), "init"))
	if err := second.launchOn(t.Context(), first.at.port); !errors.Is(err, errPortTaken) {
		t.Fatalf("got %v", err)
	}
	must(t, second.launch(t.Context()))
	if second.URL() == first.URL() {
		t.Error("two servers, one URL")
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// openTempDir is a temporary folder that the server's user can write in.
func openTempDir(t *testing.T) string {
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	must(t, os.Chmod(dir, 0o777))
	return dir
}

func mustBeEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
