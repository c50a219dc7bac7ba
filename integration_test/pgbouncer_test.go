package integration_test

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// throughPgBouncer is a pool that goes through a PgBouncer in transaction mode to pool's database.
func throughPgBouncer(t *testing.T, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	program := needs(t, "pgbouncer", "pgbouncer")
	direct, err := url.Parse(pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().(*net.TCPAddr)
	_ = free.Close()
	server := fmt.Sprintf("host=%s port=%s user=%s", direct.Hostname(), direct.Port(), direct.User.Username())
	if password, given := direct.User.Password(); given {
		server += " password='" + password + "'"
	}
	ini := filepath.Join(t.TempDir(), "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = %s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
ignore_startup_parameters = extra_float_digits
`, server, addr.Port)
	if err := os.WriteFile(ini, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{ini}
	if os.Getuid() == 0 {
		args = []string{"-u", "nobody", ini} // it refuses to run as root
	}
	bouncer := exec.Command(program, args...)
	var log bytes.Buffer
	bouncer.Stdout, bouncer.Stderr = &log, &log
	if err := bouncer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = bouncer.Process.Kill()
		_ = bouncer.Wait()
		if t.Failed() {
			t.Logf("pgbouncer said:\n%s", log.Bytes()[max(0, log.Len()-4096):])
		}
	})
	direct.Host = addr.String()
	through := open(t, direct.String(), func(c *pgxpool.Config) {
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // sessions have no memory here
	})
	eventually(t, "pgbouncer answers", func() bool { return through.Ping(t.Context()) == nil })
	return through
}

// waitsOfEveryKind begins waits before and after the ends of transactions made through db.
func waitsOfEveryKind(t *testing.T, db *pgxpool.Pool, l *listener.Listener) {
	t.Helper()
	for range 10 {
		commits, aborts := begin(t, db), begin(t, db)
		good, bad := l.Subscribe(create(t, commits)), l.Subscribe(create(t, aborts))
		defer good.Close()
		defer bad.Close()
		commit(t, commits)
		rollback(t, aborts)
		wantEnd(t, good, nil)
		wantEnd(t, bad, pgbarrier.ErrAborted)
		wait(t, l, nil, committed(t, db))
		wait(t, l, pgbarrier.ErrAborted, aborted(t, db))
		wait(t, l, pgbarrier.ErrAborted, lostAtSavepoint(t, db))
	}
}

func TestBehindPgBouncerEverythingWorksWithADirectListenConnection(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	through := throughPgBouncer(t, pool)
	l := run(t, through, listener.Config{ListenConnString: pool.Config().ConnString()})
	waitsOfEveryKind(t, through, l)
	if err := pgbarrier.Poll(t.Context(), through, committed(t, through)); err != nil {
		t.Error(err)
	}
	tx := begin(t, through)
	sub := pending(t, l, create(t, tx))
	before := l.Stats().ResolvedByAnnouncement
	commit(t, tx)
	wantEnd(t, sub, nil)
	if stats := l.Stats(); !stats.Connected || stats.FailedChecks > 0 || stats.Announcements == 0 {
		t.Errorf("%+v, %d by announcement before", stats, before)
	}
}

// PgBouncer accepts LISTEN and delivers nothing.
func TestAListenThroughPgBouncerIsReportedWhileWaitsStillEnd(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	through := throughPgBouncer(t, pool)
	l := runUnready(t, through, listener.Config{Heartbeat: 500 * time.Millisecond})
	waitsOfEveryKind(t, through, l)
	eventually(t, "the pooler is reported", func() bool {
		err := l.Stats().LastErr
		return err != nil && strings.Contains(err.Error(), "pooler") && strings.Contains(err.Error(), "ListenConnString")
	})
	if l.Stats().Connected {
		t.Error("it claims to hear")
	}
	waitsOfEveryKind(t, through, l)
}
