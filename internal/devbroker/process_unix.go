//go:build unix

package devbroker

import (
	"os/exec"
	"syscall"
)

// apart keeps a command out of reach of the terminal's Ctrl-C, which is for the program that started it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
