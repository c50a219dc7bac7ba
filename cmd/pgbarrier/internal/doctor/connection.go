package doctor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func identity(_ context.Context, p *Patient) (Level, string, error) {
	return OK, fmt.Sprintf("PostgreSQL %s, database %s, role %s", p.facts.version, p.facts.database, p.facts.role), nil
}

func standby(_ context.Context, p *Patient) (Level, string, error) {
	if p.facts.standby {
		return Fail, "the server is a standby", nil
	}
	return OK, "the server is a primary", nil
}

// pooler: in transaction mode two clients are given one server session, or one client several.
func pooler(ctx context.Context, p *Patient) (Level, string, error) {
	second, err := p.connect(ctx)
	if err != nil {
		return 0, "", err
	}
	defer end(second)
	shared := false
	var before, other, after uint32
	for try := 0; try < 5 && !shared; try++ {
		if before, err = serverProcess(ctx, p.conn, ""); err != nil {
			return 0, "", err
		}
		if other, err = serverProcess(ctx, second, "BEGIN;"); err != nil {
			return 0, "", err
		}
		// If they share one, the next statement of the first might wait for the second's transaction.
		if shared = other == before; !shared {
			if after, err = serverProcess(ctx, p.conn, ""); err != nil {
				return 0, "", err
			}
			shared = after != before
		}
		if _, err = second.PgConn().Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
			return 0, "", err
		}
	}

	switch between := before != p.conn.PgConn().PID(); {
	case shared:
		return Warn, p.poolersName(ctx) + " in transaction mode is in between", nil
	case between:
		return OK, p.poolersName(ctx) + " is in between, and leaves a session to its client", nil
	}
	return OK, "no pooler in transaction mode is in between", nil
}

// serverProcess returns the id of the process that answers, after a statement.
func serverProcess(ctx context.Context, conn *pgx.Conn, statement string) (pid uint32, err error) {
	results, err := conn.PgConn().Exec(ctx, statement+"SELECT pg_catalog.pg_backend_pid()").ReadAll()
	if err == nil {
		_, err = fmt.Sscan(string(results[len(results)-1].Rows[0][0]), &pid)
	}
	return pid, err
}

// poolersName asks on PgBouncer's admin console, a database of that name, which others imitate. Who may not, or where
// there is none, gets no name.
func (p *Patient) poolersName(ctx context.Context) string {
	const unknown = "a pooler"
	console := p.config.Config.Copy()
	console.Database, console.ValidateConnect, console.AfterConnect = "pgbouncer", nil, nil
	conn, err := pgconn.ConnectConfig(ctx, console)
	if err != nil {
		return unknown
	}
	defer func() {
		_ = conn.Close(ctx)
		<-conn.CleanupDone()
	}()
	results, err := conn.Exec(ctx, "SHOW VERSION").ReadAll()
	if err != nil || len(results) == 0 || len(results[0].Rows) == 0 {
		return unknown
	}
	return oneLine(string(results[0].Rows[0][0]))
}

// heardWithin is how long a notification may take that usually takes a millisecond.
const heardWithin = 2 * time.Second

// listen tries it on the channel of probes, where listeners take what is not theirs for a sign of life.
func listen(ctx context.Context, p *Patient) (Level, string, error) {
	hears, err := p.connect(ctx)
	if err != nil {
		return 0, "", err
	}
	defer end(hears)
	if _, err := hears.Exec(ctx, "LISTEN pgbarrier_probe"); err != nil {
		return 0, "", err
	}

	sent := time.Now()
	limited, cancel := context.WithTimeout(ctx, heardWithin)
	defer cancel()
	payload := fmt.Sprintf("%016x", rand.Uint64())
	if _, err := p.conn.Exec(limited, "SELECT pg_catalog.pg_notify('pgbarrier_probe', '"+payload+"')"); err != nil {
		if limited.Err() != nil {
			return Warn, fmt.Sprintf("a NOTIFY did not return within %v: see the finding notify-lock", heardWithin), nil
		}
		return 0, "", err
	}
	for {
		n, err := hears.WaitForNotification(limited)
		switch {
		case err == nil && n.Payload == payload:
			return OK, fmt.Sprintf("a NOTIFY was heard after %.1f ms", float64(time.Since(sent).Microseconds())/1000), nil
		case err == nil: // another's
		case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
			return 0, "", err
		default:
			unheard := fmt.Sprintf("nothing was heard within %v: ", heardWithin)
			between, found, err := pooler(ctx, p)
			if between == OK {
				return Fail, unheard + found, err
			}
			return Warn, unheard + found, err
		}
	}
}

const clocksApart = time.Second

func clock(ctx context.Context, p *Patient) (Level, string, error) {
	asked := p.now()
	var there time.Time
	err := p.row(ctx, "SELECT clock_timestamp()", &there)
	took := p.now().Sub(asked)
	apart := there.Sub(asked.Add(took / 2)).Round(time.Millisecond)
	if err == nil && apart.Abs() > clocksApart+took/2 {
		return Warn, fmt.Sprintf("the server's clock is %v ahead of the local one", apart), nil
	}
	return OK, "the clocks agree", err
}
