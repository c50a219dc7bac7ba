package scenario

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// A Lab is a server and what is measured on it.
type Lab struct {
	Options
	Report *report.Report
	// Progress is told what is being done.
	Progress func(string)

	server     *devpg.Server
	postmaster int // its pid
	admin      *pgxpool.Pool
	databases  map[string]*Database
	lastID     atomic.Int64
}

// A Database has the application's table and what one contender needs.
type Database struct {
	URL  string
	Pool *pgxpool.Pool

	clear string // a statement that empties the contender's tables, or ""
}

// settings of the server. fsync stays on: the flush is what concurrent commits share. It takes at least 1 ms,
// as on network storage.
var settings = map[string]string{
	"commit_delay":    "1000", // µs
	"commit_siblings": "0",
	"max_connections": "600", // 128 listening processes with three each
	"shared_buffers":  "256MB",
	"max_wal_size":    "4GB", // few checkpoints during a measurement
}

// NewLab starts a throwaway server.
func NewLab(ctx context.Context, o Options, r *report.Report, progress func(string)) (*Lab, error) {
	progress("starting a server")
	server, err := devpg.Start(ctx, devpg.Config{Settings: settings})
	if err != nil {
		return nil, err
	}
	admin, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	l := &Lab{Options: o, Report: r, Progress: progress, server: server, admin: admin, databases: map[string]*Database{}}
	if err := l.describe(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// describe fills in what the report says of machine and server.
func (l *Lab) describe(ctx context.Context) error {
	m := report.Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), CPU: cpuModel(), Go: runtime.Version(), Source: l.server.Source()}
	var backend int
	if err := l.admin.QueryRow(ctx, "SELECT current_setting('server_version'), pg_backend_pid()").Scan(&m.Postgres, &backend); err != nil {
		return err
	}
	if p, ok := processOf(backend); ok {
		l.postmaster = p.parent
	}
	l.Report.Machine = m
	l.Report.Settings = map[string]string{}
	rows, err := l.admin.Query(ctx, `SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY($1)`,
		[]string{"commit_delay", "max_connections", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "wal_level", "shared_buffers", "max_wal_size", "autovacuum"})
	if err != nil {
		return err
	}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		l.Report.Settings[name] = value
		return nil
	})
	return err
}

// Close ends the server.
func (l *Lab) Close() error {
	for _, db := range l.databases {
		db.Pool.Close()
	}
	l.admin.Close()
	return l.server.Close()
}

// database returns the contender's own, made at its first turn. Its pool's connections are the producers'.
func (l *Lab) database(ctx context.Context, c contender.Contender) (*Database, error) {
	if db := l.databases[c.Name]; db != nil {
		return db, nil
	}
	url, err := l.server.CreateDatabase(ctx)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 100
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	db := &Database{URL: url, Pool: pool, clear: c.Clear}
	if err = contender.InstallApp(ctx, pool); err == nil {
		err = c.Install(ctx, pool)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	l.databases[c.Name] = db
	return db, nil
}

// settle leaves the database as a new one is: no rows of the last round, no dirty pages that a checkpoint
// would write during the next. A page's first change after a checkpoint is logged in full, for everyone.
func (l *Lab) settle(ctx context.Context, db *Database) error {
	for _, statement := range []string{"TRUNCATE app", db.clear, "CHECKPOINT"} {
		if _, err := db.Pool.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) nextID() int64 { return l.lastID.Add(1) }
