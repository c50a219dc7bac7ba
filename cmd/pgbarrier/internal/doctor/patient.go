package doctor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

const (
	statementTimeout = 3 * time.Second
	// patience is for what does not end by statementTimeout: a network that has swallowed the connection.
	patience = 2 * statementTimeout
)

// A Patient is a database that is examined through one connection. It is for one goroutine.
type Patient struct {
	config *pgx.ConnConfig
	conn   *pgx.Conn
	facts  facts
	now    func() time.Time // the local clock
	limits pgx.NamedArgs    // from where on something is a finding; statements name them
}

// facts are what several examinations depend on.
type facts struct {
	version, database, role string
	standby                 bool
	installed               bool // the schema is there
	sees                    bool // what other roles' sessions do
}

// Open connects. retention is after how long barriers are purged; 0: it is not known.
func Open(ctx context.Context, config *pgx.ConnConfig, retention time.Duration) (*Patient, error) {
	config = config.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler's sessions may have no memory
	p := &Patient{config: config, now: time.Now, limits: defaultLimits(retention)}
	return p, p.reconnect(ctx)
}

// defaultLimits: times are in seconds, sizes in bytes, ages in transactions.
func defaultLimits(retention time.Duration) pgx.NamedArgs {
	old := 30 * 24 * time.Hour
	if retention > 0 {
		old = retention * 3 / 2 // those who purge do so a few times per retention
	}
	return pgx.NamedArgs{
		"old": old.Seconds(), "ahead": 10.0, "open": 60.0, "prepared": 600.0, "snapshot": 3600.0,
		"size": int64(10) << 30, "dead": int64(100_000), "locks": int64(2000),
		"queue": 0.1, "listeners": int64(64), "share": 0.2, "room": int64(10),
		"held_back": int64(10_000_000), "xids": int64(500_000_000),
	}
}

func (p *Patient) reconnect(ctx context.Context) (err error) {
	if p.conn, err = p.connect(ctx); err != nil {
		return err
	}
	f := &p.facts
	return p.examined(ctx, func(ctx context.Context) error {
		return p.row(ctx, `SELECT current_setting('server_version'), current_database(), current_user, pg_is_in_recovery(),
			EXISTS (SELECT FROM pg_namespace WHERE nspname = 'pgbarrier'), pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')`,
			&f.version, &f.database, &f.role, &f.standby, &f.installed, &f.sees)
	})
}

// connect opens another connection like the patient's. The caller closes it by end.
func (p *Patient) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return pgx.ConnectConfig(ctx, p.config)
}

// end closes conn, and returns when nothing is left of it.
func end(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
	<-conn.PgConn().CleanupDone()
}

// Close closes the connection.
func (p *Patient) Close() {
	if p.conn != nil {
		end(p.conn)
	}
}

// Findings examines. It ends early only if ctx does.
func (p *Patient) Findings(ctx context.Context) iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		for _, e := range examinations {
			f := p.examine(ctx, e)
			if ctx.Err() != nil || !yield(f) {
				return
			}
		}
	}
}

func (p *Patient) examine(ctx context.Context, e examination) Finding {
	var level Level
	var found string
	err := p.examined(ctx, func(ctx context.Context) (err error) {
		switch {
		case e.needs&schema != 0 && !p.facts.installed:
			return errors.New("there is no schema pgbarrier")
		case e.needs&primary != 0 && p.facts.standby:
			return errors.New("the server is a standby")
		case e.needs&sight != 0 && !p.facts.sees:
			return errBlind
		}
		if e.needs&bare != 0 {
			p.finish(ctx)
		}
		level, found, err = e.look(ctx, p)
		return err
	})
	if err != nil {
		return p.notLookedAt(e, err)
	}
	f := Finding{Name: e.name, Level: level, Found: oneLine(found)}
	if level != OK {
		f.Remedy = e.remedy
	}
	return f
}

var errBlind = errors.New("what the sessions of other roles do is not shown to this role")

func (p *Patient) notLookedAt(e examination, err error) Finding {
	f := Finding{Name: e.name, Level: Warn, Found: "could not look: " + oneLine(err.Error()), Remedy: "see the other findings"}
	switch state := wire.SQLState(err); {
	case errors.Is(err, errBlind):
		f.Remedy = "GRANT pg_monitor TO " + pgx.Identifier{p.facts.role}.Sanitize() + ", or ask as a role that has it"
	case state == wire.InsufficientPrivilege:
		f.Remedy = "ask as the owner of schema pgbarrier, or GRANT pg_monitor, pg_read_all_data TO " + pgx.Identifier{p.facts.role}.Sanitize()
	case state == wire.LockNotAvailable:
		f.Remedy = "somebody locks what was looked at, perhaps a migration: ask again when it is over"
	case state == queryCanceled || errors.Is(err, context.DeadlineExceeded):
		f.Remedy = "ask again when the server is less busy"
	}
	return f
}

const queryCanceled = "57014"

// examined calls f in a transaction that can do no harm.
func (p *Patient) examined(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if p.conn.IsClosed() {
		end(p.conn)
		conn, err := p.connect(ctx)
		if err != nil {
			return err
		}
		p.conn = conn
	}
	// In READ COMMITTED, because a check refuses to answer in a read-only transaction with one snapshot.
	begin := fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp;
		SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = '1s'`, statementTimeout.Milliseconds())
	if _, err := p.conn.PgConn().Exec(ctx, begin).ReadAll(); err != nil {
		return err
	}
	defer p.finish(ctx)
	return f(ctx)
}

// finish ends the transaction, if there is one.
func (p *Patient) finish(ctx context.Context) {
	if !p.conn.IsClosed() && p.conn.PgConn().TxStatus() != 'I' {
		_, _ = p.conn.PgConn().Exec(ctx, "ROLLBACK").ReadAll()
	}
}

func (p *Patient) row(ctx context.Context, sql string, answers ...any) error {
	return p.conn.QueryRow(ctx, sql, p.limits).Scan(answers...)
}

// problems is the look of a statement that returns a level and a text for each problem, the worst first. Without a
// row, all is well.
func problems(well, sql string) func(ctx context.Context, p *Patient) (Level, string, error) {
	return func(ctx context.Context, p *Patient) (Level, string, error) {
		rows, err := p.conn.Query(ctx, sql, p.limits)
		if err != nil {
			return 0, "", err
		}
		worst := OK
		var level, text string
		var found []string
		_, err = pgx.ForEachRow(rows, []any{&level, &text}, func() error {
			found = append(found, text)
			worst = max(worst, map[string]Level{"warn": Warn, "fail": Fail}[level])
			return nil
		})
		if err != nil || len(found) == 0 {
			return OK, well, err
		}
		if more := len(found) - shown; more > 0 {
			found = append(found[:shown], fmt.Sprintf("and %d more", more))
		}
		return worst, strings.Join(found, "; "), nil
	}
}

const shown = 5 // problems of one finding

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
