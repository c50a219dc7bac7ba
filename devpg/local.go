package devpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// installGlobs are where packages put the server programs. The last number in
// a path is the major version.
var installGlobs = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/lib/postgresql*/bin",                           // openSUSE
	"/usr/libexec/postgresql*",                           // Alpine
	"/usr/pgsql-*/bin",                                   // the PostgreSQL project's RPMs
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew, Intel
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew, Apple silicon
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",    // Homebrew, Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
	"/Library/PostgreSQL/*/bin",                          // EDB, macOS
	"/opt/local/lib/postgresql*/bin",                     // MacPorts
}

// localSite makes a place for a server of the programs installed here.
func localSite(ctx context.Context, w wish) (*site, error) {
	bin, err := findPrograms(ctx, w)
	if err != nil {
		return nil, err
	}
	return programsSite(ctx, SourceLocal, bin, w)
}

// programsSite makes a place for a server of the programs in the directory bin.
func programsSite(ctx context.Context, source, bin string, w wish) (*site, error) {
	k, err := shellKeeper(ctx, bin, w.log)
	if err != nil {
		return nil, err
	}
	return &site{
		keeper:   k,
		source:   source,
		listen:   "127.0.0.1",
		host:     "127.0.0.1",
		peerHost: "127.0.0.1",
		unpack: func(ctx context.Context, archive tarParts) error {
			return unpackHere(filepath.Join(k.dir, "data"), archive)
		},
		another: func(ctx context.Context) (*site, error) { return programsSite(ctx, source, bin, w) },
	}, nil
}

// findPrograms returns the first directory whose server programs will do.
func findPrograms(ctx context.Context, w wish) (string, error) {
	dirs := []string{w.binDir}
	if w.binDir == "" {
		dirs = installedDirs(ctx)
	}
	var refused []string
	for _, dir := range dirs {
		major, err := majorOf(ctx, dir)
		if err == nil {
			err = w.accepts(major)
		}
		if err == nil {
			return dir, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		refused = append(refused, dir+" "+err.Error())
	}
	if len(refused) > 0 {
		return "", errors.New(strings.Join(refused, "\n"))
	}
	return "", errors.New("initdb and postgres are not in PATH, pg_config --bindir or the usual places; DEVPG_BINDIR may name their directory")
}

// installedDirs lists the directories that have both programs, in order of
// preference: what the user's PATH names, then the newest.
func installedDirs(ctx context.Context) []string {
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	var packaged []string
	for _, glob := range installGlobs {
		found, _ := filepath.Glob(glob)
		packaged = append(packaged, found...)
	}
	slices.SortStableFunc(packaged, func(a, b string) int { return cmp.Compare(numberIn(b), numberIn(a)) })
	dirs = append(dirs, packaged...)

	var out []string
	for _, dir := range dirs {
		if hasPrograms(dir) == nil && !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	return out
}

// numberIn is the major version in a path of installGlobs: its last number, or
// the greatest for one without, which is a "latest".
func numberIn(path string) int {
	all := regexp.MustCompile(`\d+`).FindAllString(path, -1)
	if len(all) == 0 {
		return 1 << 30
	}
	n, _ := strconv.Atoi(all[len(all)-1])
	return n
}

func hasPrograms(dir string) error {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("has no program %s", name)
		}
	}
	return nil
}

var versionOutput = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// majorOf asks the program, as the user it will run as, which shows too
// whether that user may run it.
func majorOf(ctx context.Context, dir string) (int, error) {
	if !filepath.IsAbs(dir) {
		return 0, errors.New("is not an absolute path")
	}
	if err := hasPrograms(dir); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version")
	cmd.Dir = "/"
	user, err := asServerUser(cmd)
	if err != nil {
		return 0, err
	}
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("has a postgres that%s cannot run: %w", user, err)
	}
	m := versionOutput.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("has a postgres that calls itself %q", strings.TrimSpace(string(out)))
	}
	return strconv.Atoi(string(m[1]))
}
