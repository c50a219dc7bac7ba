//go:build unix

package devpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// shellKeeper starts a keeper as a child process.
func shellKeeper(ctx context.Context, bin string, log io.Writer) (*keeper, error) {
	args := append([]string{"-c", keeperScript, "keeper", bin}, tempDirs()...)
	cmd := exec.Command("/bin/sh", args...)
	// The present directory may be one that the server's user cannot enter.
	cmd.Dir = "/"
	cmd.Env = serverEnv()
	if _, err := asServerUser(cmd); err != nil {
		return nil, err
	}
	// A session of its own: Ctrl-C in the terminal must not end the keeper
	// before it has cleaned up.
	cmd.SysProcAttr.Setsid = true
	// Both pipes are close-on-exec at this end, so no other child of this
	// process keeps the keeper alive.
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting /bin/sh: %w", err)
	}
	return newKeeper(ctx, in, out, log, cmd.Wait)
}

// asServerUser makes cmd run as an ordinary user when this process is root's,
// as PostgreSQL refuses to run as root. It returns " user NAME" then, for
// messages, and "" otherwise.
func asServerUser(cmd *exec.Cmd) (string, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() != 0 {
		return "", nil
	}
	uid, gid, name, err := serverUser()
	if err != nil {
		return "", err
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return " user " + name, nil
}

// serverUser is whom root's servers run as.
func serverUser() (uid, gid int, name string, err error) {
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		// Read as 64 bits: macOS's nobody is 4294967294 (-2).
		uid, err1 := strconv.ParseInt(u.Uid, 10, 64)
		gid, err2 := strconv.ParseInt(u.Gid, 10, 64)
		if err1 == nil && err2 == nil && uint32(uid) != 0 {
			return int(uint32(uid)), int(uint32(gid)), name, nil
		}
	}
	return 0, 0, "", errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")
}

// tempDirs are the folders to try for the server's directory: the one of
// TMPDIR may be closed to the server's user.
func tempDirs() []string { return []string{os.TempDir(), "/tmp", "/var/tmp"} }

// serverEnv is the environment without what would change the server: PGDATA
// and its like, locale and time zone.
func serverEnv() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || strings.HasPrefix(name, "DEVPG") ||
			name == "LANG" || name == "LANGUAGE" || name == "TZ" || name == "ENV" {
			continue
		}
		env = append(env, e)
	}
	return env
}
