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

	server    *devpg.Server
	admin     *pgxpool.Pool
	databases map[string]*Database
	lastID    atomic.Int64
}

// A Database has the application's table and what one contender needs.
type Database struct {
	URL  string
	Pool *pgxpool.Pool
}

// settings of the server. fsync stays on: the flush is what concurrent commits share. Nothing but
// room: 256 producers, a connection for each that waits by a lock, 128 listeners with two each.
var settings = map[string]string{
	"max_connections": "1000",
	"shared_buffers":  "256MB",
	"max_wal_size":    "4GB", // few checkpoints during a measurement
	"autovacuum":      "on",
}

// NewLab starts a throwaway server.
func NewLab(ctx context.Context, o Options, r *report.Report, progress func(string)) (*Lab, error) {
	l, err := newLab(ctx, o, progress, settings)
	if err != nil {
		return nil, err
	}
	l.Report = r
	if err = l.describe(ctx); err == nil {
		err = l.describeFlushes(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func newLab(ctx context.Context, o Options, progress func(string), settings map[string]string) (*Lab, error) {
	progress("starting a server")
	server, err := devpg.Start(ctx, devpg.Config{Settings: settings})
	if err != nil {
		return nil, err
	}
	admin, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return &Lab{Options: o, Progress: progress, server: server, admin: admin, databases: map[string]*Database{}}, nil
}

// describe fills in what the report tells of machine and server.
func (l *Lab) describe(ctx context.Context) error {
	m := report.Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), CPU: cpuModel(), Go: runtime.Version(), Source: l.server.Source()}
	if err := l.admin.QueryRow(ctx, "SHOW server_version").Scan(&m.Postgres); err != nil {
		return err
	}
	l.Report.Machine = m
	l.Report.Settings = map[string]string{}
	rows, err := l.admin.Query(ctx, `SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY($1)`,
		[]string{"fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "wal_level", "max_connections", "shared_buffers", "max_wal_size", "autovacuum"})
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
	config.MaxConns = 300
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	db := &Database{URL: url, Pool: pool}
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

// settle leaves the database as a new one is: no rows of the last round, statistics, no dirty pages that a
// checkpoint would write during the next. Connections of the last round are closed.
func (l *Lab) settle(ctx context.Context, db *Database) error {
	db.Pool.Reset()
	if _, err := db.Pool.Exec(ctx, "TRUNCATE app"); err != nil {
		return err
	}
	_, err := db.Pool.Exec(ctx, "CHECKPOINT")
	return err
}

func (l *Lab) nextID() int64 { return l.lastID.Add(1) }
