package doctor

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// throughPgBouncer has the ward examined through a PgBouncer in transaction mode.
func throughPgBouncer(t *testing.T, w *ward) { pooled(t, w, "transaction") }

func pooled(t *testing.T, w *ward, mode string) {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/pgbouncer") // not in everybody's PATH
	}
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("NOT TESTED: pgbouncer is not installed: apt-get install pgbouncer")
	} else if err != nil {
		t.Fatal(err)
	}
	direct, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	server := fmt.Sprintf("host=%s port=%s user=%s", direct.Hostname(), direct.Port(), direct.User.Username())
	if password, given := direct.User.Password(); given {
		server += " password='" + password + "'"
	}
	ini := filepath.Join(t.TempDir(), "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = %s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"+
		"unix_socket_dir =\nauth_type = any\npool_mode = %s\n", server, port, mode)
	if err := os.WriteFile(ini, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{ini}
	if os.Getuid() == 0 {
		args = []string{"-u", "nobody", ini} // it refuses to run as root
	}
	bouncer := exec.Command(program, args...)
	if err := bouncer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = bouncer.Process.Kill()
		_ = bouncer.Wait()
	})
	direct.Host = fmt.Sprintf("127.0.0.1:%d", port)
	w.url = direct.String()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := pgx.Connect(t.Context(), w.url)
		if err == nil {
			end(conn)
			return
		}
		if time.Since(begun) > testTimeout {
			t.Fatal(err)
		}
	}
}

func TestAPoolerInSessionModeIsNoFinding(t *testing.T) {
	w := newWard(t)
	pooled(t, w, "session")
	w.becomes(t, "pooler", OK, "PgBouncer 1.", "leaves a session to its client")
	w.becomes(t, "listen", OK, "was heard")
}

// All the others work through one as well.
func TestADatabaseBehindAPoolerIsExaminedToTheEnd(t *testing.T) {
	w := newWard(t)
	throughPgBouncer(t, w)
	for f := range w.patient(t).Findings(t.Context()) {
		if (f.Level != OK) != (f.Name == "pooler" || f.Name == "listen") {
			t.Errorf("%+v", f)
		}
	}
}
