//go:build unix

package devpg

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A test re-executes the test program as a child that does what childVar says
// and then waits to be killed.
const childVar = "DEVPG_TEST_CHILD"

func child() {
	ctx := context.Background()
	if os.Getenv(childVar) == "die in initdb" {
		die := writerFunc(func([]byte) (int, error) {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		})
		Start(ctx, Config{Source: SourceLocal, Log: die})
	}
	s, err := Start(ctx, Config{Source: os.Getenv(childVar)})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	standby, err := s.Standby(ctx)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	// A program started by the user of the server, which outlives him, must not
	// keep the server alive.
	sleeper := exec.Command("sleep", "300")
	if err := sleeper.Start(); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("ready", sleeper.Process.Pid, s.URL(), standby.URL(), s.at.keeper.dir, standby.at.keeper.dir)
	select {} // until killed
}

type victim struct {
	cmd  *exec.Cmd
	urls []string
	dirs []string
}

func startVictim(t *testing.T, source string) *victim {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+source)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to get a Ctrl-C of its own
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() }) // does nothing to an ended one
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) != 6 || words[0] != "ready" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	var sleeper int
	fmt.Sscan(words[1], &sleeper)
	t.Cleanup(func() { syscall.Kill(sleeper, syscall.SIGKILL) })
	return &victim{cmd: cmd, urls: words[2:4], dirs: words[4:]}
}

// processesIn lists the processes that name one of the directories.
func processesIn(t *testing.T, dirs []string) (found []string) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,args=").Output()
	must(t, err)
	for line := range strings.Lines(string(out)) {
		for _, dir := range dirs {
			if strings.Contains(line, dir) {
				found = append(found, line)
			}
		}
	}
	return found
}

func (v *victim) mustLeaveNothing(t *testing.T) {
	began := time.Now()
	eventually(t, "no files left", func() bool {
		for _, dir := range v.dirs {
			if _, err := os.Stat(dir); err == nil {
				return false
			}
		}
		return true
	})
	t.Logf("all gone after %v", time.Since(began).Round(time.Millisecond))
	if found := processesIn(t, v.dirs); len(found) > 0 {
		t.Errorf("left running: %v", found)
	}
	for _, url := range v.urls {
		if c, err := connect(t.Context(), url); err == nil {
			closeConn(c)
			t.Errorf("%s answers still", url)
		}
	}
}

func TestNothingOutlivesTheProcess(t *testing.T) {
	for name, end := range map[string]func(v *victim) error{
		"SIGKILL": func(v *victim) error { return v.cmd.Process.Kill() },
		"Ctrl-C":  func(v *victim) error { return syscall.Kill(-v.cmd.Process.Pid, syscall.SIGINT) },
	} {
		t.Run(name, func(t *testing.T) {
			v := startVictim(t, SourceLocal)
			if len(processesIn(t, v.dirs)) == 0 {
				t.Fatal("the check for processes finds none of a running server")
			}
			must(t, end(v))
			v.cmd.Wait()
			v.mustLeaveNothing(t)
		})
	}
}

func TestNothingOutlivesAProcessKilledInStart(t *testing.T) {
	dir := openTempDir(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"=die in initdb", "TMPDIR="+dir)
	err := cmd.Run()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the child was to be killed: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Fatalf("the child was to be killed in the middle of initdb: %v, %v", left, err)
	}
	eventually(t, "no files left", func() bool {
		left, err := os.ReadDir(dir)
		return err == nil && len(left) == 0
	})
	// Removing the files is the keeper's last act, and then it ends.
	eventually(t, "no process left", func() bool { return len(processesIn(t, []string{dir})) == 0 })
}

// A crashed server has nobody to remove its shared memory but the keeper.
func TestNothingOutlivesACrashedServer(t *testing.T) {
	s := ForTest(t, Config{Source: SourceLocal})
	line := query[string](t, s.URL(), "select split_part(pg_read_file('postmaster.pid'), E'\\n', 7)")
	id := strings.Fields(line)[1]
	listed := func() bool {
		out, err := exec.Command("ipcs", "-m").Output()
		must(t, err)
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) > 1 && f[1] == id {
				return true
			}
		}
		return false
	}
	if !listed() {
		t.Fatal("the check for shared memory does not find that of a running server")
	}
	must(t, s.Crash(t.Context()))
	must(t, s.Close())
	if listed() {
		t.Error("a shared memory segment is left")
	}
	if _, err := os.Stat(s.at.keeper.dir); err == nil {
		t.Error("the directory is left")
	}
}
