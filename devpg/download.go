package devpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// mavenCentral is where embedded-postgres has its server programs from, and
// repositoryAnswers how long that may take to answer at all.
const (
	mavenCentral      = "https://repo1.maven.org/maven2"
	repositoryAnswers = 5 * time.Second
)

// downloadable is the release of each major that is fetched.
var downloadable = map[int]embeddedpostgres.PostgresVersion{
	14: embeddedpostgres.V14,
	15: embeddedpostgres.V15,
	16: embeddedpostgres.V16,
	17: embeddedpostgres.V17,
	18: embeddedpostgres.V18,
}

// downloadSite makes a place for a server of downloaded programs.
func downloadSite(ctx context.Context, w wish) (*site, error) {
	if runtime.GOOS == "windows" {
		return nil, errors.New("devpg runs no local server on Windows")
	}
	major := w.major
	if major == 0 {
		major = max(w.minMajor, 17)
	}
	version, ok := downloadable[major]
	if !ok {
		return nil, fmt.Errorf("PostgreSQL %d is not among the downloads", major)
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	bin, err := downloaded(ctx, cache, version)
	if err != nil {
		return nil, err
	}
	if got, err := majorOf(ctx, bin); err != nil {
		return nil, fmt.Errorf("the download in %s %w", bin, err)
	} else if got != major {
		return nil, fmt.Errorf("the download in %s is PostgreSQL %d, not %d", bin, got, major)
	}
	return programsSite(ctx, SourceDownload, bin, w)
}

// cacheDir is where downloads are kept, for good. Root's servers run as another
// user, who can read /var/cache but not root's home.
func cacheDir() (string, error) {
	if dir := os.Getenv("DEVPG_CACHE"); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", fmt.Errorf("DEVPG_CACHE=%s is not an absolute path", dir)
		}
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/devpg", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place to keep a download, set DEVPG_CACHE: %w", err)
	}
	return filepath.Join(dir, "devpg"), nil
}

// downloaded returns the directory of the programs of that version, fetching
// them first if the cache has none.
func downloaded(ctx context.Context, cache string, version embeddedpostgres.PostgresVersion) (string, error) {
	final := filepath.Join(cache, string(version)+"-"+runtime.GOOS+"-"+runtime.GOARCH)
	bin := filepath.Join(final, "bin")
	if hasPrograms(bin) == nil {
		return bin, nil
	}
	repository := os.Getenv("DEVPG_REPOSITORY")
	if repository == "" {
		repository = mavenCentral
	}
	if err := answers(ctx, repository); err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("no place to keep a download, set DEVPG_CACHE: %w", err)
	}
	// Into a directory of its own first: another process must not take half an
	// extraction for a whole one.
	removeAbandoned(cache)
	temporary, err := os.MkdirTemp(cache, "fetching-")
	if err != nil {
		return "", fmt.Errorf("no place to keep a download, set DEVPG_CACHE: %w", err)
	}
	fetched := make(chan error, 1)
	go func() {
		err := fetch(temporary, repository, version)
		if err == nil {
			err = os.Rename(filepath.Join(temporary, "programs"), final)
		}
		if err != nil && hasPrograms(bin) == nil {
			err = nil // another process was first
		}
		os.RemoveAll(temporary)
		fetched <- err
	}()
	// embedded-postgres cannot be interrupted. If ctx ends first, the fetch goes
	// on and the next Start finds its outcome.
	select {
	case err := <-fetched:
		if err != nil {
			return "", fmt.Errorf("fetching PostgreSQL %s from %s: %w", version, repository, err)
		}
		return bin, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// answers asks the repository for anything, because embedded-postgres would
// wait without bound for one that cannot be reached.
func answers(ctx context.Context, repository string) error {
	ctx, cancel := context.WithTimeout(ctx, repositoryAnswers)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, repository+"/", nil)
	if err != nil {
		return fmt.Errorf("DEVPG_REPOSITORY: %w", err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("the repository cannot be reached: %w", err)
	}
	return response.Body.Close()
}

// fetch has embedded-postgres download and extract the programs into
// dir/programs. That module has no call for this alone: it goes on to initdb,
// which it cannot do as root, and to a start, which does not end with this
// process. So it is given a data directory that cannot be, below a file, at
// which it gives up after the extraction and before anything runs.
func fetch(dir, repository string, version embeddedpostgres.PostgresVersion) error {
	file := filepath.Join(dir, "not-a-directory")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	port, err := freePort("127.0.0.1") // it insists on a free one
	if err != nil {
		return err
	}
	programs := filepath.Join(dir, "programs")
	if err := os.Mkdir(programs, 0o755); err != nil {
		return err
	}
	began := time.Now()
	embedded := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).
		Port(uint32(port)).
		BinaryRepositoryURL(repository).
		CachePath(filepath.Join(dir, "archive")).
		RuntimePath(filepath.Join(dir, "runtime")).
		BinariesPath(programs).
		DataPath(filepath.Join(file, "data")).
		Logger(io.Discard))
	err = embedded.Start()
	removeItsLog(began)
	runtime.KeepAlive(embedded) // which has the log open, by which it is known
	if missing := hasPrograms(filepath.Join(programs, "bin")); missing != nil {
		return errors.Join(err, fmt.Errorf("what was extracted %w", missing))
	}
	// Another user may have to run them, whatever this process's umask.
	return filepath.WalkDir(programs, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}

// removeItsLog removes the log file that embedded-postgres makes in TMPDIR and
// leaves there. It is the one of that name made since then that this process
// has open.
func removeItsLog(since time.Time) {
	logs, _ := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*"))
	open, _ := filepath.Glob("/dev/fd/*")
	for _, log := range logs {
		info, err := os.Stat(log)
		if err != nil || info.ModTime().Before(since.Add(-time.Second)) {
			continue
		}
		for _, fd := range open {
			if ours, err := os.Stat(fd); err == nil && os.SameFile(info, ours) {
				os.Remove(log)
			}
		}
	}
}

// removeAbandoned removes what processes killed in the middle of a fetch left.
func removeAbandoned(cache string) {
	abandoned, _ := filepath.Glob(filepath.Join(cache, "fetching-*"))
	for _, dir := range abandoned {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Hour {
			os.RemoveAll(dir)
		}
	}
}
