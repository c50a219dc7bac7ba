//go:build !unix

package devpg

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"runtime"
)

func shellKeeper(context.Context, string, io.Writer) (*keeper, error) {
	return nil, errors.New("devpg runs no local server on " + runtime.GOOS + ": set DEVPG_URL, or start Docker")
}

func asServerUser(*exec.Cmd) (string, error) { return "", nil }

func serverUser() (uid, gid int, name string, err error) {
	return 0, 0, "", errors.New("devpg runs no local server on " + runtime.GOOS)
}
