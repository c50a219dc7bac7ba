package devpg

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Config says what server is wanted. The zero Config is a good one.
type Config struct {
	// Settings are server settings, such as "commit_delay": "1000", laid over
	// this package's own. They are written to a configuration file, so that
	// ALTER SYSTEM and pg_reload_conf work as usual (ALTER SYSTEM wins). The
	// addresses, port and directories of the server cannot be set.
	Settings map[string]string

	// Log receives the server's log, several lines at a time, from one
	// goroutine at a time. Default: nowhere, but the end of the log is part of
	// the error when a server does not start.
	Log io.Writer

	// MinMajor is the lowest major version that will do, such as 15. Default: 14.
	MinMajor int

	// Source allows one source alone: SourceURL, SourceLocal, SourceDocker or
	// SourceDownload. Default: what DEVPG in the environment says, or else all
	// of them in that order.
	Source string

	// BinDir is the directory of the server programs initdb and postgres, for
	// the local source. Default: DEVPG_BINDIR, or else a search.
	BinDir string
}

// The names of the sources, as Config.Source and DEVPG take them and
// Server.Source gives them.
const (
	SourceURL      = "url"
	SourceLocal    = "local"
	SourceDocker   = "docker"
	SourceDownload = "download"
)

// wish is a Config with the environment worked in and every value checked.
type wish struct {
	settings map[string]string
	log      io.Writer
	minMajor int
	major    int // exactly this one; 0 = any
	sources  []string
	url      string
	binDir   string
}

// defaultMinMajor is the oldest major that the PostgreSQL project supported
// when this was written.
const defaultMinMajor = 14

func (c Config) wish() (wish, error) {
	w := wish{
		settings: maps.Clone(c.Settings),
		log:      c.Log,
		minMajor: c.MinMajor,
		url:      os.Getenv("DEVPG_URL"),
		binDir:   c.BinDir,
	}
	if err := checkSettings(c.Settings); err != nil {
		return w, err
	}
	if w.minMajor == 0 {
		w.minMajor = defaultMinMajor
	}
	if m := os.Getenv("DEVPG_MAJOR"); m != "" {
		n, err := strconv.Atoi(m)
		if err != nil || n < 10 {
			return w, fmt.Errorf("devpg: DEVPG_MAJOR=%s is not a major version: give a number such as 17", m)
		}
		w.major = n
	}
	if w.major != 0 && w.major < w.minMajor {
		return w, fmt.Errorf("devpg: DEVPG_MAJOR=%d, but at least PostgreSQL %d is needed here", w.major, w.minMajor)
	}

	forced, by := c.Source, "Config.Source"
	if forced == "" {
		forced, by = os.Getenv("DEVPG"), "DEVPG"
	}
	all := []string{SourceURL, SourceLocal, SourceDocker, SourceDownload}
	switch {
	case forced != "" && !slices.Contains(all, forced):
		return w, fmt.Errorf("devpg: %s=%s is not a source: give one of %s", by, forced, strings.Join(all, ", "))
	case forced != "":
		w.sources = []string{forced}
	case w.binDir != "":
		w.sources = []string{SourceLocal}
	case w.url != "":
		w.sources = []string{SourceURL}
	case os.Getenv("DEVPG_BINDIR") != "":
		w.sources = []string{SourceLocal}
	default:
		w.sources = all
	}
	if w.binDir == "" {
		w.binDir = os.Getenv("DEVPG_BINDIR")
	}
	return w, nil
}

// accepts says why a server of this major will not do, or nil.
func (w wish) accepts(major int) error {
	switch {
	case w.major != 0 && major != w.major:
		return fmt.Errorf("is PostgreSQL %d, and DEVPG_MAJOR asks for %d", major, w.major)
	case major < w.minMajor:
		return fmt.Errorf("is PostgreSQL %d, and at least %d is needed", major, w.minMajor)
	}
	return nil
}
