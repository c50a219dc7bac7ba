//go:build unix

package devbroker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The servers of these tests are this program: each answers with its process id, and leaves a file if it is stopped in
// order. The real ones are tested where they are used.
const asServer, asStarter = "DEVBROKER_TEST_SERVER", "DEVBROKER_TEST_STARTER"

func TestMain(m *testing.M) {
	if address := os.Getenv(asServer); address != "" {
		serve(address)
	}
	if os.Getenv(asStarter) != "" {
		start()
	}
	os.Exit(m.Run())
}

func serve(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		os.Exit(1)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		_ = os.WriteFile("stopped", nil, 0o600)
		os.Exit(0)
	}()
	for {
		if conn, err := l.Accept(); err == nil {
			fmt.Fprintln(conn, os.Getpid())
			_ = conn.Close()
		}
	}
}

// start starts a server and waits to be killed.
func start() {
	s, err := Start(context.Background(), fake())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Dir, s.process.pid())
	select {}
}

func fake() *Kind {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return &Kind{
		name: "fake", scheme: "fake", env: "DEVBROKER_FAKE_URL", programs: []string{"devbroker-fake"}, paths: []string{self}, install: "it",
		run: func(s *Server, programs []string) ([]*exec.Cmd, error) {
			cmd := exec.Command(programs[0])
			cmd.Env = append(os.Environ(), asServer+"="+s.Address)
			return []*exec.Cmd{cmd}, nil
		},
		ready: func(_ *Server, conn net.Conn, pid int) error {
			said, err := io.ReadAll(conn)
			if err == nil && string(said) != fmt.Sprintln(pid) {
				err = errOther
			}
			return err
		},
	}
}

func TestAServerIsTheSameAfterARestartAndACrash(t *testing.T) {
	s, err := Start(t.Context(), fake())
	if err != nil {
		t.Fatal(err)
	}
	for name, again := range map[string]func(context.Context) error{"restart": s.Restart, "crash": s.Crash} {
		_ = os.Remove(filepath.Join(s.Dir, "stopped"))
		before := s.process.pid()
		if err := again(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(filepath.Join(s.Dir, "stopped"))
		if inOrder := err == nil; inOrder != (name == "restart") || s.process.pid() == before {
			t.Errorf("after a %s: stopped in order %v, process %d and then %d", name, inOrder, before, s.process.pid())
		}
		if err := s.answers(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its files are left: %v", err)
	}
	if err := s.answers(t.Context()); err == nil {
		t.Error("it runs after Close")
	}
}

func TestAServerDoesNotOutliveWhoStartedIt(t *testing.T) {
	cmd := exec.Command(fake().paths[0])
	cmd.Env = append(os.Environ(), asStarter+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var dir string
	var pid int
	if _, err := fmt.Fscan(out, &dir, &pid); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, err := os.Stat(dir)
		if gone := errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); gone && errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d or directory %s is left", pid, dir)
		}
	}
}

func TestTheErrorSaysWhatToInstall(t *testing.T) {
	k := fake()
	k.paths = nil
	_, err := Open(t.Context(), k)
	if want := "devbroker-fake is not installed: apt-get install it, or set DEVBROKER_FAKE_URL"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	t.Setenv("DEVBROKER_FAKE_URL", "fake://somewhere")
	s, err := Open(t.Context(), k)
	if err != nil || s.URL != "fake://somewhere" {
		t.Fatalf("the environment names a server: %v, %v", s, err)
	}
	if s.Crash(t.Context()) == nil {
		t.Error("a server that is not ours was killed")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
